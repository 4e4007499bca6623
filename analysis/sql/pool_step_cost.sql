-- How much longer the steps of a pool's replicas take than the fleet's healthy cost model says for the same work.
WITH members AS (
    SELECT src, min(dst) AS pool FROM edges WHERE kind = 'part_of' AND dst LIKE 'pool:%' GROUP BY src
)
SELECT
    p.pool AS entity,                                                    -- the pool
    CAST(floor((t.start_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(sum(t.duration_ns) AS DOUBLE) AS num,                           -- ns that the steps took
    sum($per_step + $per_prefill * t.prefill_tokens + CASE WHEN t.decode_tokens > 0 THEN $per_decode_step ELSE 0 END + $per_decode * t.decode_tokens) AS den  -- ns that the work should take
FROM steps t
JOIN members p ON p.src = t.replica
WHERE t.start_ns >= $start_ns AND t.start_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
