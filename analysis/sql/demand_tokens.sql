-- Prompt tokens that users newly ask for per second and cohort; retries add nothing.
SELECT
    'cohort:' || COALESCE(cohort, 'all') AS entity,                      -- the cohort
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(sum(prompt_tokens) AS DOUBLE) AS num,                           -- prompt tokens of first attempts
    $bin_ns / 1e9 AS den                                                 -- seconds
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns AND COALESCE(attempt, 1) = 1 AND prompt_tokens IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2
