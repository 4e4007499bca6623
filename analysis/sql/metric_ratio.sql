-- What one counter grows by, over what another grows by, for each entity of a kind.
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
    WHERE (s.signal = $signal OR s.signal = $over) AND ($label = '' OR s.signal = $over OR s.labels[$label] = $value)
),
grown AS (
    SELECT
        n.entity, n.signal, m.ts_ns,
        m.value - CASE WHEN m.value >= lag(m.value) OVER w THEN lag(m.value) OVER w ELSE 0 END AS more,
        (m.ts_ns - lag(m.ts_ns) OVER w) / 1e9 AS seconds
    FROM samples m
    JOIN named n ON n.series_id = m.series_id
    WHERE m.ts_ns >= $start_ns - 120000000000 AND m.ts_ns < $end_ns AND m.value BETWEEN -1e300 AND 1e300
    WINDOW w AS (PARTITION BY m.series_id ORDER BY m.ts_ns)
)
SELECT
    entity,                                                              -- the entity
    CAST(floor((ts_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,         -- bin of the window
    sum(CASE WHEN signal = $signal THEN more ELSE 0 END) AS num,         -- growth of the one
    sum(CASE WHEN signal = $over THEN more ELSE 0 END) AS den            -- growth of the other
FROM grown
WHERE ts_ns >= $start_ns AND seconds IS NOT NULL AND entity IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2
