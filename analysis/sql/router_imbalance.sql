-- How unevenly the router spreads attempts: the busiest replica's share times the number of replicas; 1 is even.
WITH routers AS (
    SELECT src AS gateway, min(dst) AS router FROM edges WHERE kind = 'calls' AND dst LIKE 'router:%' GROUP BY src
),
placed AS (
    SELECT
        t.router, r.replica, CAST(floor((r.arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin, count(*) AS attempts
    FROM requests r
    JOIN routers t ON t.gateway = r.gateway
    WHERE r.arrival_ns >= $start_ns AND r.arrival_ns < $end_ns AND r.replica IS NOT NULL
    GROUP BY 1, 2, 3
),
fleet AS (
    SELECT CAST(count(DISTINCT replica) AS DOUBLE) AS replicas FROM requests WHERE replica IS NOT NULL
)
SELECT
    p.router AS entity,                                                  -- the router
    p.bin,                                                               -- bin of the window
    CAST(max(p.attempts) AS DOUBLE) * min(f.replicas) AS num,            -- attempts of the busiest replica, times replicas
    CAST(sum(p.attempts) AS DOUBLE) AS den                               -- attempts routed
FROM placed p
CROSS JOIN fleet f
GROUP BY 1, 2
ORDER BY 1, 2
