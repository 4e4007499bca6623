-- Share of users' requests that no attempt answered, by cohort and by the gateway that took the first attempt in.
WITH attempts AS (
    SELECT
        trace_hi, trace_lo, COALESCE(request_id, '') AS request, arrival_ns, outcome,
        COALESCE(cohort, 'all') AS cohort, gateway,
        row_number() OVER (
            PARTITION BY trace_hi, trace_lo, COALESCE(request_id, '') ORDER BY arrival_ns, span_id
        ) AS place
    FROM requests
),
asked AS (
    SELECT
        min(arrival_ns) AS begun_ns, min(cohort) AS cohort, max(CASE WHEN place = 1 THEN gateway END) AS gateway,
        max(CASE WHEN outcome = 'ok' THEN 1 ELSE 0 END) AS answered
    FROM attempts
    GROUP BY trace_hi, trace_lo, request
),
parts AS (
    SELECT 'cohort:' || cohort AS entity, begun_ns, answered FROM asked
    UNION ALL
    SELECT gateway AS entity, begun_ns, answered FROM asked WHERE gateway IS NOT NULL
)
SELECT
    entity,                                                              -- the cohort, or the gateway (of a region)
    CAST(count(*) AS BIGINT) AS requests,                                -- requests begun in the window
    CAST(sum(1 - answered) AS DOUBLE) / count(*) AS unanswered           -- share of them without an answer
FROM parts
WHERE begun_ns >= $start_ns AND begun_ns < $end_ns
GROUP BY 1
ORDER BY 1
