-- Seconds that a request of one cohort waited in shared steps for tokens of another one, on the mean.
WITH parts AS (
    SELECT t.replica, t.step_id, t.duration_ns, b.request, CAST(b.tokens AS DOUBLE) AS tokens
    FROM (SELECT replica, step_id, duration_ns, UNNEST(batch) AS b FROM steps WHERE start_ns >= $start_ns AND start_ns < $end_ns) t
),
owned AS (
    SELECT p.replica, p.step_id, p.duration_ns, p.request, p.tokens, COALESCE(r.cohort, 'all') AS cohort
    FROM parts p
    JOIN requests r ON r.engine_span_id = p.request
),
groups AS (
    SELECT replica, step_id, cohort, max(duration_ns) AS duration_ns, sum(tokens) AS tokens, count(*) AS members
    FROM owned
    GROUP BY replica, step_id, cohort
),
totals AS (
    SELECT replica, step_id, sum(tokens) AS tokens FROM groups GROUP BY replica, step_id
),
victims AS (
    SELECT cohort, CAST(count(DISTINCT request) AS DOUBLE) AS requests FROM owned GROUP BY cohort
)
SELECT
    'cohort:' || v.cohort AS victim,                                     -- whose requests waited
    'cohort:' || c.cohort AS culprit,                                    -- for whose tokens
    sum(v.members * v.duration_ns / 1e9 * (c.tokens - CASE WHEN c.cohort = v.cohort THEN v.tokens / v.members ELSE 0 END) / t.tokens) / max(w.requests) AS seconds  -- per request
FROM groups v
JOIN groups c ON c.replica = v.replica AND c.step_id = v.step_id
JOIN totals t ON t.replica = v.replica AND t.step_id = v.step_id
JOIN victims w ON w.cohort = v.cohort
WHERE t.tokens > 0
GROUP BY 1, 2
ORDER BY 1, 2
