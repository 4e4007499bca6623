-- Counters of work that stood still on a replica that ran steps.
WITH busy AS (
    SELECT replica, count(*) AS steps FROM steps WHERE start_ns >= $start_ns AND start_ns < $end_ns GROUP BY replica
)
SELECT
    s.signal,                                                            -- the counter
    s.entity,                                                            -- the replica
    max(m.value) - min(m.value) AS growth                                -- 0
FROM samples m
JOIN series s ON s.series_id = m.series_id
JOIN busy b ON b.replica = s.entity
WHERE s.signal IN ('tokens.output', 'tokens.prompt', 'kv.prefix_queries') AND b.steps > 100
    AND m.ts_ns >= $start_ns AND m.ts_ns < $end_ns AND m.value BETWEEN -1e300 AND 1e300
GROUP BY s.signal, s.entity
HAVING max(m.value) - min(m.value) = 0
ORDER BY s.signal, s.entity
