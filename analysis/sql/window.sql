-- What time the telemetry covers: from the first to the last thing seen, in ns UTC.
SELECT
    min(t.first_ns) AS start_ns,  -- first arrival, step or sample
    max(t.last_ns) AS end_ns      -- last end of a request, step or sample
FROM (
    SELECT min(arrival_ns) AS first_ns, max(end_ns) AS last_ns FROM requests
    UNION ALL
    SELECT min(start_ns) AS first_ns, max(start_ns + duration_ns) AS last_ns FROM steps
    UNION ALL
    SELECT min(ts_ns) AS first_ns, max(ts_ns) AS last_ns FROM samples
) t
