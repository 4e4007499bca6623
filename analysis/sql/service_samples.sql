-- What call-graph tools say of services: latency, availability and requests, as they were sampled.
SELECT
    s.entity,                                                            -- the service, or the link to a peer
    s.signal,                                                            -- service.latency, service.availability, service.requests
    m.ts_ns,                                                             -- when
    avg(m.value) AS value                                                -- seconds, percent, or a count
FROM samples m
JOIN series s ON s.series_id = m.series_id
WHERE s.signal IN ('service.latency', 'service.availability', 'service.requests') AND s.entity IS NOT NULL
    AND (s.labels['statistic'] IN ('Average', 'Sum') OR s.labels['statistic'] IS NULL)
    AND m.ts_ns >= $start_ns AND m.ts_ns < $end_ns AND m.value BETWEEN -1e300 AND 1e300
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
