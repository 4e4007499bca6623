-- Share of a replica's prefill that computes again what preemption threw away.
SELECT
    replica AS entity,                                                   -- the replica
    CAST(floor((start_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,      -- bin of the window
    CAST(sum(recomputed_tokens) AS DOUBLE) AS num,  -- tokens computed again
    CAST(sum(prefill_tokens) AS DOUBLE) AS den   -- prompt tokens computed
FROM steps
WHERE start_ns >= $start_ns AND start_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
