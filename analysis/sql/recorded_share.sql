-- How many attempts were recorded one by one, and how many gateways counted as ended.
WITH grown AS (
    SELECT
        s.signal, s.labels['outcome'] AS outcome, s.labels['attempt'] AS attempt, m.ts_ns,
        m.value - CASE WHEN m.value >= lag(m.value) OVER w THEN lag(m.value) OVER w ELSE 0 END AS more
    FROM samples m
    JOIN series s ON s.series_id = m.series_id
    WHERE s.signal IN ('gateway.arrivals', 'gateway.finished') AND m.ts_ns >= $start_ns - 120000000000 AND m.ts_ns < $end_ns
        AND m.value BETWEEN -1e300 AND 1e300
    WINDOW w AS (PARTITION BY m.series_id ORDER BY m.ts_ns)
)
SELECT
    (SELECT count(*) FROM requests WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns) AS recorded,  -- rows
    (SELECT sum(more) FROM grown WHERE ts_ns >= $start_ns AND signal = 'gateway.finished') AS counted    -- by counters
