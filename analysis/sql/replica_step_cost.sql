-- How much longer a replica's steps take than the fleet's healthy cost model says for the same work: 1 as usual.
SELECT
    replica AS entity,                                                   -- the replica
    CAST(floor((start_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,      -- bin of the window
    CAST(sum(duration_ns) AS DOUBLE) AS num,  -- ns that the steps took
    sum($per_step + $per_prefill * prefill_tokens + CASE WHEN decode_tokens > 0 THEN $per_decode_step ELSE 0 END + $per_decode * decode_tokens) AS den   -- ns that the work should take
FROM steps
WHERE start_ns >= $start_ns AND start_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
