-- Seconds that attempts spent in each phase, by lengths of prompt and answer: octaves of tokens, so that like is compared with
-- like. Attempts without an answer have none of its length.
SELECT
    CAST(floor(ln(1 + prompt_tokens) / ln(2)) AS BIGINT) AS prompt,      -- octave of the prompt length
    CASE WHEN outcome = 'ok' AND output_tokens IS NOT NULL
         THEN CAST(floor(ln(1 + output_tokens) / ln(2)) AS BIGINT) END AS answer,  -- octave of the answer's, NULL without one
    CAST(count(*) AS DOUBLE) AS attempts,                                -- attempts in it
    CAST(sum(gateway_ns) AS DOUBLE) / 1e9 AS gateway,                    -- seconds in state gateway
    CAST(sum(route_ns) AS DOUBLE) / 1e9 AS route,                        -- seconds in state route
    CAST(sum(kv_sync_ns) AS DOUBLE) / 1e9 AS kv_sync,                    -- seconds blocked by the KV index
    CAST(sum(queue_ns) AS DOUBLE) / 1e9 AS queue,                        -- seconds waiting for a slot
    CAST(sum(kv_transfer_ns) AS DOUBLE) / 1e9 AS kv_transfer,            -- seconds waiting for KV of another replica
    CAST(sum(prefill_ns) AS DOUBLE) / 1e9 AS prefill,                    -- seconds in prefill
    CAST(sum(decode_ns) AS DOUBLE) / 1e9 AS decode,                      -- seconds in decode
    CAST(sum(preempted_ns) AS DOUBLE) / 1e9 AS preempted,                -- seconds thrown out of the batch
    CAST(sum(stream_ns) AS DOUBLE) / 1e9 AS stream                       -- seconds streaming the answer
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns AND prompt_tokens IS NOT NULL AND outcome <> 'rejected'
GROUP BY 1, 2
ORDER BY 1, 2
