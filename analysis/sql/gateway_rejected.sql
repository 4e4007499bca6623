-- Share of attempts that were turned away, per gateway.
SELECT
    COALESCE(gateway, 'gateway:unknown') AS entity,                      -- the gateway
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(sum(CASE WHEN outcome = 'rejected' THEN 1 ELSE 0 END) AS DOUBLE) AS num,  -- rejected attempts
    CAST(count(*) AS DOUBLE) AS den                                      -- attempts
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
