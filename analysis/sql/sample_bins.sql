-- All samples of the signals in $signals (names between commas), reduced once to one row a series and bin.
WITH grown AS (
    SELECT
        m.series_id, m.ts_ns, m.value, m.hist_count, m.hist_sum,
        m.value - CASE WHEN m.value >= lag(m.value) OVER w THEN lag(m.value) OVER w ELSE 0 END AS more,
        (m.ts_ns - lag(m.ts_ns) OVER w) / 1e9 AS seconds
    FROM samples m
    JOIN series s ON s.series_id = m.series_id
    WHERE strpos($signals, ',' || s.signal || ',') > 0 AND m.ts_ns >= $start_ns - 120000000000 AND m.ts_ns < $end_ns
        AND (m.value BETWEEN -1e300 AND 1e300 OR m.hist_sum BETWEEN -1e300 AND 1e300)
    WINDOW w AS (PARTITION BY m.series_id ORDER BY m.ts_ns)
)
SELECT
    series_id,                                                           -- the series
    CAST(floor((ts_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,         -- bin of the window
    sum(value) AS total,                                                 -- sum over scrapes
    CAST(count(value) AS DOUBLE) AS scrapes,                             -- scrapes
    sum(CASE WHEN seconds IS NOT NULL THEN more END) AS more,            -- growth; after a reset what the counter says
    sum(seconds) AS seconds,                                             -- seconds between scrapes
    sum(hist_sum) AS hist_sum,                                           -- sum of observations
    CAST(sum(hist_count) AS DOUBLE) AS hist_count                        -- observations
FROM grown
WHERE ts_ns >= $start_ns
GROUP BY 1, 2
ORDER BY 1, 2
