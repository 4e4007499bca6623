-- Cached blocks evicted on a replica, as a share of its KV pool per minute.
SELECT
    replica AS entity,                                                   -- the replica
    CAST(floor((start_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,      -- bin of the window
    CAST(sum(kv_evicted_blocks) AS DOUBLE) AS num,  -- blocks evicted
    CAST(max(kv_total_blocks) AS DOUBLE) * $bin_ns / 60e9 AS den   -- blocks of the pool, times minutes
FROM steps
WHERE start_ns >= $start_ns AND start_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
