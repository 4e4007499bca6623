-- What a replica's steps took and did, per bin: linear in the work, so that sums of steps fit the same cost model.
SELECT
    replica AS entity,                                                   -- the replica
    CAST(floor((start_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,      -- bin of the window
    CAST(sum(duration_ns) AS DOUBLE) AS duration_ns,                     -- time taken
    CAST(count(*) AS DOUBLE) AS steps,                                   -- steps
    CAST(sum(prefill_tokens) AS DOUBLE) AS prefill_tokens,               -- prompt tokens computed
    CAST(sum(CASE WHEN decode_tokens > 0 THEN 1 ELSE 0 END) AS DOUBLE) AS decode_steps,  -- steps that decoded
    CAST(sum(decode_tokens) AS DOUBLE) AS decode_tokens                  -- output tokens produced
FROM steps
WHERE start_ns >= $start_ns AND start_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
