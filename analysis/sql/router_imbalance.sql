-- How unevenly the router spreads attempts: the busiest replica's share of the last minute's attempts, times the number of
-- replicas; 1 is even. Judged at each attempt with 20 others in its last minute, so that any bins add up.
WITH routers AS (
    SELECT src AS gateway, min(dst) AS router FROM edges WHERE kind = 'calls' AND dst LIKE 'router:%' GROUP BY src
),
fleet AS (
    SELECT CAST(count(DISTINCT replica) AS DOUBLE) AS replicas FROM requests WHERE replica IS NOT NULL
),
placed AS (
    SELECT
        t.router, r.arrival_ns,
        count(*) OVER (
            PARTITION BY t.router, r.replica ORDER BY r.arrival_ns RANGE BETWEEN 60000000000 PRECEDING AND CURRENT ROW
        ) AS own,
        count(*) OVER (
            PARTITION BY t.router ORDER BY r.arrival_ns RANGE BETWEEN 60000000000 PRECEDING AND CURRENT ROW
        ) AS everyone
    FROM requests r
    JOIN routers t ON t.gateway = r.gateway
    WHERE r.arrival_ns >= $start_ns - 120000000000 AND r.arrival_ns < $end_ns AND r.replica IS NOT NULL
),
judged AS (
    SELECT
        p.router, p.arrival_ns,
        max(CAST(p.own AS DOUBLE) / p.everyone) OVER (
            PARTITION BY p.router ORDER BY p.arrival_ns RANGE BETWEEN 60000000000 PRECEDING AND CURRENT ROW
        ) AS largest_share
    FROM placed p
    WHERE p.everyone > 20
)
SELECT
    j.router AS entity,                                                  -- the router
    CAST(floor((j.arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,  -- bin of the window
    sum(j.largest_share * f.replicas) AS num,                            -- largest share times replicas, over attempts
    CAST(count(*) AS DOUBLE) AS den                                      -- attempts routed
FROM judged j
CROSS JOIN fleet f
WHERE j.arrival_ns >= $start_ns
GROUP BY 1, 2
ORDER BY 1, 2
