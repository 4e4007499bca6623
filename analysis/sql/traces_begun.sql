-- Traces whose root began in the window.
SELECT
    CAST(count(*) AS DOUBLE) AS traces                                   -- traces
FROM spans
WHERE parent_id IS NULL AND start_ns >= $start_ns AND start_ns < $end_ns AND end_ns > start_ns
