-- Engine time of the attempts that came in a window, and the parts of it that served nobody.
SELECT
    sum(busy_ns) / 1e9 AS busy_s,                                                                       -- all of it
    sum(wasted_ns) / 1e9 AS abandoned_s,                                                                -- for clients that had left
    sum(CASE WHEN COALESCE(attempt, 1) > 1 THEN wasted_ns ELSE 0 END) / 1e9 AS retried_s,               -- of it, on retries
    sum(CASE WHEN computed_tokens > 0 THEN busy_ns * CAST(recomputed_tokens AS DOUBLE) / computed_tokens ELSE 0 END) / 1e9 AS recomputed_s,  -- computed again
    sum(energy_mj) / 1e3 AS energy_j,                                                                   -- energy where measured
    sum(CASE WHEN energy_mj IS NOT NULL THEN busy_ns ELSE 0 END) / 1e9 AS measured_s                    -- engine time of these
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns
