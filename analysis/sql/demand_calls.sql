-- First attempts per user (per session where users are unknown) in a minute, per cohort: a first attempt is weighed with its
-- user's first attempts in the minute up to it, so that any bins add up.
WITH asked AS (
    SELECT
        'cohort:' || COALESCE(cohort, 'all') AS entity,
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
    entity,                                                              -- the cohort
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(count(*) AS DOUBLE) AS num,                                     -- first attempts
    sum(users) AS den                                                    -- users
FROM asked
WHERE arrival_ns >= $start_ns
GROUP BY 1, 2
ORDER BY 1, 2
