-- Attempts that come to a gateway per second.
SELECT
    COALESCE(gateway, 'gateway:unknown') AS entity,                      -- the gateway
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(count(*) AS DOUBLE) AS num,                                     -- attempts
    $bin_ns / 1e9 AS den                                                 -- seconds
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
