-- Requests that wait for a slot on a replica, mean over its steps.
SELECT
    replica AS entity,                                                   -- the replica
    CAST(floor((start_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,      -- bin of the window
    CAST(sum(waiting) AS DOUBLE) AS num,                                 -- waiting, summed over steps
    CAST(count(*) AS DOUBLE) AS den                                      -- steps
FROM steps
WHERE start_ns >= $start_ns AND start_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
