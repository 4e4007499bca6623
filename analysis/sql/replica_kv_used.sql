-- Share of a replica's KV blocks that running requests hold.
SELECT
    replica AS entity,                                                   -- the replica
    CAST(floor((start_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,      -- bin of the window
    CAST(sum(kv_used_blocks) AS DOUBLE) AS num,  -- blocks held, summed over steps
    CAST(sum(kv_total_blocks) AS DOUBLE) AS den   -- blocks, summed over steps
FROM steps
WHERE start_ns >= $start_ns AND start_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
