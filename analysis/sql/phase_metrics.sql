-- Mean seconds of a finished request in each phase, as engines' histograms know them.
SELECT
    s.signal,                                                            -- latency.queue, latency.prefill, latency.decode, latency.e2e
    sum(m.hist_sum) AS seconds,                                          -- seconds observed
    CAST(sum(m.hist_count) AS DOUBLE) AS requests                        -- requests observed
FROM samples m
JOIN series s ON s.series_id = m.series_id
WHERE s.signal IN ('latency.queue', 'latency.prefill', 'latency.decode', 'latency.e2e')
    AND m.ts_ns >= $start_ns AND m.ts_ns < $end_ns AND m.hist_count > 0 AND m.hist_sum BETWEEN -1e300 AND 1e300
GROUP BY 1
ORDER BY 1
