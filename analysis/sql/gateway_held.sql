-- Mean seconds that an attempt stays in the gateway before it is routed.
SELECT
    COALESCE(gateway, 'gateway:unknown') AS entity,                      -- the gateway
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(sum(gateway_ns) AS DOUBLE) / 1e9 AS num,                        -- seconds in state gateway
    CAST(count(*) AS DOUBLE) AS den                                      -- attempts
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns AND gateway_ns IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2
