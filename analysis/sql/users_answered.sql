-- Share of users' requests that were answered by any attempt, per cohort, by the time they began.
WITH user_requests AS (
    SELECT
        trace_hi, trace_lo, COALESCE(request_id, '') AS request, min(arrival_ns) AS begun_ns,
        min(COALESCE(cohort, 'all')) AS cohort,
        max(CASE WHEN outcome = 'ok' THEN 1 ELSE 0 END) AS answered
    FROM requests
    GROUP BY trace_hi, trace_lo, COALESCE(request_id, '')
)
SELECT
    'cohort:' || cohort AS entity,                                       -- the cohort
    CAST(floor((begun_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,      -- bin of the window
    CAST(sum(answered) AS DOUBLE) AS num,                                -- answered requests
    CAST(count(*) AS DOUBLE) AS den                                      -- requests
FROM user_requests
WHERE begun_ns >= $start_ns AND begun_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
