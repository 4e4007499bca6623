-- Requests waiting for a slot, per request in the batch, on a replica.
SELECT
    replica AS entity,                                                   -- the replica
    CAST(floor((start_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,      -- bin of the window
    CAST(sum(waiting) AS DOUBLE) AS num,  -- waiting, summed over steps
    CAST(sum(CASE WHEN running > 0 THEN running ELSE 1 END) AS DOUBLE) AS den   -- running, summed over steps
FROM steps
WHERE start_ns >= $start_ns AND start_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
