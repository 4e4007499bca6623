-- Mean length of answers, per cohort, by arrival of the attempts that were answered.
SELECT
    'cohort:' || COALESCE(cohort, 'all') AS entity,                      -- the cohort
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(sum(output_tokens) AS DOUBLE) AS num,                           -- output tokens
    CAST(count(*) AS DOUBLE) AS den                                      -- answered attempts
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns AND output_tokens IS NOT NULL AND outcome = 'ok'
GROUP BY 1, 2
ORDER BY 1, 2
