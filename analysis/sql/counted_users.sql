-- What gateways count per bin: attempts answered and failed, first attempts, and attempts in all.
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
    CAST(floor((ts_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,                                        -- bin of the window
    sum(CASE WHEN signal = 'gateway.finished' AND outcome = 'ok' THEN more ELSE 0 END) AS ok,           -- answered
    sum(CASE WHEN signal = 'gateway.finished' AND outcome <> 'ok' THEN more ELSE 0 END) AS failed,      -- not answered
    sum(CASE WHEN signal = 'gateway.arrivals' AND attempt = 'first' THEN more ELSE 0 END) AS first,     -- first attempts
    sum(CASE WHEN signal = 'gateway.arrivals' THEN more ELSE 0 END) AS came                             -- attempts
FROM grown
WHERE ts_ns >= $start_ns AND more IS NOT NULL
GROUP BY 1
ORDER BY 1
