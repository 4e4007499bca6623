-- Attempts per first attempt and cohort: 1 without retries.
SELECT
    'cohort:' || COALESCE(cohort, 'all') AS entity,                      -- the cohort
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(count(*) AS DOUBLE) AS num,                                     -- attempts
    CAST(sum(CASE WHEN COALESCE(attempt, 1) = 1 THEN 1 ELSE 0 END) AS DOUBLE) AS den  -- first attempts
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
