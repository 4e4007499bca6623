-- Prompt tokens that a replica computes per second.
SELECT
    replica AS entity,                                                   -- the replica
    CAST(floor((start_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,      -- bin of the window
    CAST(sum(prefill_tokens) AS DOUBLE) AS num,  -- prompt tokens computed
    $bin_ns / 1e9 AS den   -- seconds
FROM steps
WHERE start_ns >= $start_ns AND start_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
