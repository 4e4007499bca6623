-- What the fleet's steps did per bin: tokens at what they cost in healthy steps, without what every step costs anyway.
SELECT
    CAST(floor((start_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,      -- bin of the window
    sum($per_prefill * prefill_tokens + $per_decode * decode_tokens) AS work_ns  -- ns that the tokens should take
FROM steps
WHERE start_ns >= $start_ns AND start_ns < $end_ns
GROUP BY 1
ORDER BY 1
