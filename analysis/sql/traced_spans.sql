-- Spans of one in $every traces whose root began in the window, children after their root.
WITH roots AS (
    SELECT trace_hi, trace_lo, start_ns AS root_ns
    FROM spans
    WHERE parent_id IS NULL AND start_ns >= $start_ns AND start_ns < $end_ns AND end_ns > start_ns AND trace_lo % $every = 0
)
SELECT
    s.trace_hi,                                                          -- the trace, upper half of its id
    s.trace_lo,                                                          -- lower half
    s.span_id,                                                           -- the span
    s.parent_id,                                                         -- the one it is part of, NULL of a root
    COALESCE(s.entity, s.service, 'unknown') || ': ' || s.name AS label, -- who does what
    s.start_ns,                                                          -- from when
    s.end_ns                                                             -- to when
FROM spans s
JOIN roots r ON r.trace_hi = s.trace_hi AND r.trace_lo = s.trace_lo
WHERE s.end_ns > s.start_ns
ORDER BY s.trace_hi, s.trace_lo, s.start_ns, s.span_id
