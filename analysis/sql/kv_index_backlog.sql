-- Block events that a KV index has not applied yet.
SELECT
    s.entity,                                                            -- the KV index
    CAST(floor((m.ts_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,       -- bin of the window
    sum(m.value) AS num,                                                 -- sum over scrapes
    CAST(count(*) AS DOUBLE) AS den                                      -- scrapes
FROM samples m
JOIN series s ON s.series_id = m.series_id
WHERE s.signal = 'kv_index.lag_events' AND m.ts_ns >= $start_ns AND m.ts_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
