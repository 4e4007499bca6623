-- What a counter grows by per second, for each entity of a kind; series with other labels are summed. A counter that falls
-- began anew: it has grown by what it says.
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
),
summed AS (
    SELECT entity, ts_ns, sum(more) AS more, max(seconds) AS seconds
    FROM grown
    WHERE seconds IS NOT NULL
    GROUP BY 1, 2
)
SELECT
    entity,                                                              -- the entity
    CAST(floor((ts_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,         -- bin of the window
    sum(more) AS num,                                                    -- growth
    sum(seconds) AS den                                                  -- seconds between scrapes
FROM summed
WHERE ts_ns >= $start_ns AND entity IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2
