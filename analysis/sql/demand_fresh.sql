-- Fresh demand: first attempts per second and cohort, which no retry adds to.
SELECT
    'cohort:' || COALESCE(cohort, 'all') AS entity,                      -- the cohort
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(count(*) AS DOUBLE) AS num,                                     -- first attempts
    $bin_ns / 1e9 AS den                                                 -- seconds
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns AND COALESCE(attempt, 1) = 1
GROUP BY 1, 2
ORDER BY 1, 2
