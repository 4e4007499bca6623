-- Gaps per second in the block event streams that a KV index follows: events that were lost.
WITH growth AS (
    SELECT
        s.entity, m.ts_ns,
        m.value - lag(m.value) OVER (PARTITION BY m.series_id ORDER BY m.ts_ns) AS more
    FROM samples m
    JOIN series s ON s.series_id = m.series_id
    WHERE s.signal = 'kv_index.gaps'
)
SELECT
    entity,                                                              -- the KV index
    CAST(floor((ts_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,         -- bin of the window
    sum(CASE WHEN more > 0 THEN more ELSE 0 END) AS num,                 -- gaps
    $bin_ns / 1e9 AS den                                                 -- seconds
FROM growth
WHERE ts_ns >= $start_ns AND ts_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
