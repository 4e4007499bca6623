-- Mean seconds that an attempt's client waited: for the first token, or until it left without one. Per gateway.
SELECT
    COALESCE(gateway, 'gateway:unknown') AS entity,                      -- the gateway
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(sum(COALESCE(ttft_ns, e2e_ns)) AS DOUBLE) / 1e9 AS num,         -- seconds waited
    CAST(count(*) AS DOUBLE) AS den                                      -- attempts that were not turned away
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns AND outcome <> 'rejected' AND e2e_ns IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2
