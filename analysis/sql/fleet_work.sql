-- What the fleet's steps did per bin, in ns of healthy step time.
SELECT
    CAST(floor((start_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,      -- bin of the window
    sum($per_step + $per_prefill * prefill_tokens + CASE WHEN decode_tokens > 0 THEN $per_decode_step ELSE 0 END + $per_decode * decode_tokens) AS work_ns  -- ns that the work should take
FROM steps
WHERE start_ns >= $start_ns AND start_ns < $end_ns
GROUP BY 1
ORDER BY 1
