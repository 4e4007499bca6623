-- Share of attempts that ended in an error, per cohort.
SELECT
    'cohort:' || COALESCE(cohort, 'all') AS entity,                      -- the cohort
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(sum(CASE WHEN outcome = 'error' THEN 1 ELSE 0 END) AS DOUBLE) AS num,  -- errors
    CAST(count(*) AS DOUBLE) AS den                                      -- attempts
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
