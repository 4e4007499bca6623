-- Share of time that a replica spends in steps.
SELECT
    replica AS entity,                                                   -- the replica
    CAST(floor((start_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,      -- bin of the window
    CAST(sum(duration_ns) AS DOUBLE) AS num,  -- ns in steps
    CAST($bin_ns AS DOUBLE) AS den   -- ns
FROM steps
WHERE start_ns >= $start_ns AND start_ns < $end_ns
GROUP BY 1, 2
ORDER BY 1, 2
