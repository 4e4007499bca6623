-- By how much an entity's spans begin before the spans that called them: the median, where it is impossible; else 0.
WITH pairs AS (
    SELECT c.entity, (p.start_ns - c.start_ns) / 1e9 AS ahead_s
    FROM spans c
    JOIN spans p ON p.span_id = c.parent_id AND p.trace_hi = c.trace_hi AND p.trace_lo = c.trace_lo
    WHERE c.start_ns >= $start_ns AND c.start_ns < $end_ns AND c.entity IS NOT NULL AND c.entity <> COALESCE(p.entity, '')
)
SELECT
    entity,                                                              -- whose clock
    avg(ahead_s) AS ahead_s                                              -- seconds that its spans begin before their callers'
FROM pairs
WHERE ahead_s > 0
GROUP BY entity
ORDER BY entity
