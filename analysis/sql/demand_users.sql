-- Distinct users (sessions where users are unknown) per second and cohort that asked for something new.
SELECT
    'cohort:' || COALESCE(cohort, 'all') AS entity,                      -- the cohort
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(count(DISTINCT COALESCE(CAST(user_hash AS VARCHAR), session)) AS DOUBLE) AS num,  -- users
    $bin_ns / 1e9 AS den                                                 -- seconds
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns AND COALESCE(attempt, 1) = 1
GROUP BY 1, 2
ORDER BY 1, 2
