-- Users (sessions where users are unknown) who asked for something new, per minute and cohort. A first attempt counts as one
-- over the number of its user's first attempts in the minute up to it, so that any bins add up.
WITH asked AS (
    SELECT
        'cohort:' || COALESCE(cohort, 'all') AS cohort_entity,
        arrival_ns,
        CAST(1 AS DOUBLE) / count(*) OVER (
            PARTITION BY COALESCE(cohort, 'all'), COALESCE(CAST(user_hash AS VARCHAR), session)
            ORDER BY arrival_ns RANGE BETWEEN 60000000000 PRECEDING AND CURRENT ROW
        ) AS users
    FROM requests
    WHERE arrival_ns >= $start_ns - 60000000000 AND arrival_ns < $end_ns AND COALESCE(attempt, 1) = 1
        AND (user_hash IS NOT NULL OR session IS NOT NULL)
)
SELECT
    cohort_entity AS entity,                                             -- the cohort
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    sum(users) AS num,                                                   -- users
    $bin_ns / 60e9 AS den                                                -- minutes
FROM asked
WHERE arrival_ns >= $start_ns
GROUP BY 1, 2
ORDER BY 1, 2
