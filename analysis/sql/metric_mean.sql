-- Mean of a gauge over its scrapes, for each entity of a kind: its own, the one that a label names, or the related one.
WITH owners AS (
    SELECT src, min(dst) AS dst FROM edges WHERE dst LIKE $kind || ':%' GROUP BY src
),
named AS (
    SELECT
        s.series_id, s.signal,
        CASE WHEN $by <> '' THEN $kind || ':' || s.labels[$by]
             WHEN s.entity LIKE $kind || ':%' THEN s.entity ELSE o.dst END AS entity
    FROM series s
    LEFT JOIN owners o ON o.src = s.entity
    WHERE s.signal = $signal AND ($label = '' OR s.labels[$label] = $value)
)
SELECT
    n.entity,                                                            -- the entity
    CAST(floor((m.ts_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,       -- bin of the window
    sum(m.value) AS num,                                                 -- sum over scrapes
    CAST(count(*) AS DOUBLE) AS den                                      -- scrapes
FROM samples m
JOIN named n ON n.series_id = m.series_id
WHERE m.ts_ns >= $start_ns AND m.ts_ns < $end_ns AND m.value BETWEEN -1e300 AND 1e300 AND n.entity IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2
