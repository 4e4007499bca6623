-- Mean prompt length of first attempts, per cohort.
SELECT
    'cohort:' || COALESCE(cohort, 'all') AS entity,                      -- the cohort
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(sum(prompt_tokens) AS DOUBLE) AS num,                           -- prompt tokens
    CAST(count(*) AS DOUBLE) AS den                                      -- first attempts
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns AND COALESCE(attempt, 1) = 1 AND prompt_tokens IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2
