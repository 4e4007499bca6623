-- Share of the prompt found in the replica's prefix cache, over attempts that ran there.
SELECT
    replica AS entity,                                                   -- the replica
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,    -- bin of the window
    CAST(sum(hit_blocks) AS DOUBLE) AS num,                              -- prefix blocks hit
    CAST(sum(prompt_blocks) AS DOUBLE) AS den                            -- prompt blocks
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns AND replica IS NOT NULL AND hit_blocks IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2
