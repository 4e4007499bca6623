-- Mean seconds that a replica's attempts wait for KV of another replica.
SELECT
    replica AS entity,                                                   -- the replica
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(sum(kv_transfer_ns) AS DOUBLE) / 1e9 AS num,                    -- seconds in state kv_transfer
    CAST(count(*) AS DOUBLE) AS den                                      -- attempts
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns AND replica IS NOT NULL AND kv_transfer_ns IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2
