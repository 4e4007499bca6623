-- Share of a replica's engine time spent on attempts whose client had left, by the attempts' arrival.
SELECT
    replica AS entity,                                                   -- the replica
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(sum(wasted_ns) AS DOUBLE) AS num,                               -- ns for nobody
    CAST(sum(busy_ns) AS DOUBLE) AS den                                  -- ns of engine time
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns AND replica IS NOT NULL AND busy_ns IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2
