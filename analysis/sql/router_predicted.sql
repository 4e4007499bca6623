-- Share of the prompt that the router expected to find in the prefix cache of the chosen replica.
WITH routers AS (
    SELECT src AS gateway, min(dst) AS router FROM edges WHERE kind = 'calls' AND dst LIKE 'router:%' GROUP BY src
)
SELECT
    t.router AS entity,                                                  -- the router behind the gateway
    CAST(floor((r.arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,  -- bin of the window
    CAST(sum(r.predicted_blocks) AS DOUBLE) AS num,                      -- prefix blocks predicted
    CAST(sum(r.prompt_blocks) AS DOUBLE) AS den                          -- prompt blocks routed
FROM requests r
JOIN routers t ON t.gateway = r.gateway
WHERE r.arrival_ns >= $start_ns AND r.arrival_ns < $end_ns AND r.replica IS NOT NULL AND r.predicted_blocks IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2
