-- Share of all first attempts that a cohort makes.
WITH everyone AS (
    SELECT CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin, CAST(count(*) AS DOUBLE) AS attempts
    FROM requests
    WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns AND COALESCE(attempt, 1) = 1
    GROUP BY 1
),
cohorts AS (
    SELECT DISTINCT COALESCE(cohort, 'all') AS name
    FROM requests
    WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns
),
own AS (
    SELECT
        COALESCE(cohort, 'all') AS name, CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,
        CAST(count(*) AS DOUBLE) AS attempts
    FROM requests
    WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns AND COALESCE(attempt, 1) = 1
    GROUP BY 1, 2
)
SELECT
    'cohort:' || c.name AS entity,                                       -- the cohort
    e.bin,                                                               -- bin of the window
    COALESCE(o.attempts, 0) AS num,                                      -- its first attempts
    e.attempts AS den                                                    -- everybody's
FROM everyone e
CROSS JOIN cohorts c
LEFT JOIN own o ON o.name = c.name AND o.bin = e.bin
ORDER BY 1, 2
