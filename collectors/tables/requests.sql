-- One row for each attempt of each request, from spans. requests_table.py fills in {{spans}} and the columns' lists.
--
-- An attempt is known in its trace by (request id, attempt number); a source that does not number its attempts has one row for each
-- span that stands for an attempt. A span that carries the phases (e2e_ns is not NULL) is a row as it is. Without such a span
-- the row is assembled: from an `llm_request` span, or a span whose children are phases, and those children. The engine's span
-- `llm_request` below either fills what it leaves open; phases, which sum to e2e_ns, only where it leaves all of them open.
-- An engine span that is numbered (flashover.attempt) but has no phases waits for its root: it makes no row.
WITH phase_spans AS (
    -- Child spans that are a phase, as far as they lie in their parent: vLLM's vllm_<phase> and the plain names.
    SELECT c.trace_hi, c.trace_lo, c.parent_id, c.span_id,
        CASE WHEN c.start_ns < p.start_ns THEN p.start_ns ELSE c.start_ns END AS start_ns,
        CASE WHEN c.end_ns > p.end_ns THEN p.end_ns ELSE c.end_ns END AS end_ns,
        CASE
            WHEN c.name = 'vllm_queue' THEN 'queue'
            WHEN c.name = 'vllm_prefill' THEN 'prefill'
            WHEN c.name = 'vllm_decode' THEN 'decode'
            WHEN c.name IN ('vllm_async_kv_transfer', 'vllm_kv_transfer') THEN 'kv_transfer'
            ELSE c.name
        END AS phase
    FROM {spans} c
    JOIN {spans} p ON p.trace_hi = c.trace_hi AND p.trace_lo = c.trace_lo AND p.span_id = c.parent_id
    WHERE c.e2e_ns IS NULL AND p.e2e_ns IS NULL AND c.end_ns IS NOT NULL
        AND c.name IN ('gateway', 'route', 'kv_sync', 'queue', 'kv_transfer', 'prefill', 'decode', 'preempted', 'stream',
                       'vllm_queue', 'vllm_prefill', 'vllm_decode', 'vllm_async_kv_transfer', 'vllm_kv_transfer')
),
cuts AS (
    SELECT trace_hi, trace_lo, parent_id, start_ns AS from_ns FROM phase_spans
    UNION
    SELECT trace_hi, trace_lo, parent_id, end_ns AS from_ns FROM phase_spans
),
slices AS (
    -- Where one phase lies in another (vLLM waits for KV transfers inside of its queue), the time is cut into slices.
    SELECT trace_hi, trace_lo, parent_id, from_ns,
        lead(from_ns) OVER (PARTITION BY trace_hi, trace_lo, parent_id ORDER BY from_ns) AS to_ns
    FROM cuts
),
states AS (
    -- A slice is in one state: queueing is nothing but waiting for a slot, of the others the one that began last holds. So a
    -- span delivered twice counts once.
    SELECT s.trace_hi, s.trace_lo, s.parent_id, s.to_ns - s.from_ns AS ns, c.phase,
        row_number() OVER (
            PARTITION BY s.trace_hi, s.trace_lo, s.parent_id, s.from_ns
            ORDER BY CASE WHEN c.phase = 'queue' THEN 1 ELSE 0 END, c.start_ns DESC, c.end_ns, c.span_id
        ) AS place
    FROM slices s
    JOIN phase_spans c ON c.trace_hi = s.trace_hi AND c.trace_lo = s.trace_lo AND c.parent_id = s.parent_id
        AND c.start_ns <= s.from_ns AND c.end_ns >= s.to_ns
    WHERE s.to_ns IS NOT NULL
),
phases AS (
    -- By parent; a phase that is there and has no slice took no time.
    SELECT trace_hi, trace_lo, parent_id,
        {phase_sums}
    FROM (
        SELECT trace_hi, trace_lo, parent_id, phase, ns FROM states WHERE place = 1
        UNION ALL
        SELECT trace_hi, trace_lo, parent_id, phase, 0 AS ns FROM phase_spans
    ) held
    GROUP BY trace_hi, trace_lo, parent_id
),
candidates AS (
    -- Spans that may stand for an attempt: those that carry the phases, and those to assemble one around.
    SELECT s.*, CASE WHEN s.e2e_ns IS NULL THEN 1 ELSE 0 END AS assembled,
        COALESCE({any_phase}) AS any_phase_ns,
        {phase_columns}
    FROM {spans} s
    LEFT JOIN phases p ON p.trace_hi = s.trace_hi AND p.trace_lo = s.trace_lo AND p.parent_id = s.span_id
    WHERE s.e2e_ns IS NOT NULL OR p.parent_id IS NOT NULL
        OR (s.name = 'llm_request' AND (s.attempt IS NULL OR s.queue_ns IS NOT NULL))
),
spoken_for AS (
    -- Of two directly below each other that are not numbered as different attempts, one is the other's own account of the same
    -- attempt: the outer one speaks, or the one that carries the phases.
    SELECT DISTINCT o.trace_hi, o.trace_lo, CASE WHEN o.assembled > i.assembled THEN o.span_id ELSE i.span_id END AS span_id
    FROM candidates o
    JOIN candidates i
        ON i.trace_hi = o.trace_hi AND i.trace_lo = o.trace_lo AND i.parent_id = o.span_id AND i.span_id <> o.span_id
    WHERE o.attempt IS NULL OR i.attempt IS NULL
        OR (o.attempt = i.attempt AND (o.request_id IS NULL OR i.request_id IS NULL OR o.request_id = i.request_id))
),
speakers AS (
    -- One for each number, the one that carries the phases first, then the outermost; a span delivered twice speaks once.
    SELECT
        c.*,
        row_number() OVER (
            PARTITION BY c.trace_hi, c.trace_lo,
                CASE WHEN c.request_id IS NOT NULL AND c.attempt IS NOT NULL THEN c.request_id END,
                CASE WHEN c.request_id IS NOT NULL AND c.attempt IS NOT NULL THEN c.attempt END,
                CASE WHEN c.request_id IS NULL OR c.attempt IS NULL THEN c.span_id END
            ORDER BY c.assembled, CASE WHEN c.parent_id IS NULL THEN 0 ELSE 1 END, c.start_ns, c.span_id, c.frame
        ) AS speaker
    FROM candidates c
    LEFT JOIN spoken_for f ON f.trace_hi = c.trace_hi AND f.trace_lo = c.trace_lo AND f.span_id = c.span_id
    WHERE f.span_id IS NULL
),
covered AS (
    -- What carriers in a trace say of themselves: what they stand for is not assembled once more.
    SELECT DISTINCT trace_hi, trace_lo, request_id, attempt FROM candidates WHERE assembled = 0
),
heads AS (
    SELECT s.*
    FROM speakers s
    LEFT JOIN covered c
        ON s.assembled = 1 AND c.trace_hi = s.trace_hi AND c.trace_lo = s.trace_lo
            AND (c.request_id IS NULL OR s.request_id IS NULL OR c.request_id = s.request_id)
            AND (c.attempt IS NULL OR s.attempt IS NULL OR c.attempt = s.attempt)
    WHERE s.speaker = 1 AND c.trace_hi IS NULL
),
engines AS (
    -- The engine's span of each head: its child, or the one with the same request id and attempt in the trace.
    SELECT
        h.trace_hi AS head_hi, h.trace_lo AS head_lo, h.span_id AS head_span, e.*,
        row_number() OVER (
            PARTITION BY h.trace_hi, h.trace_lo, h.span_id
            ORDER BY CASE WHEN e.parent_id = h.span_id THEN 0 ELSE 1 END, e.start_ns, e.span_id, e.frame
        ) AS place
    FROM heads h
    JOIN {spans} e ON e.trace_hi = h.trace_hi AND e.trace_lo = h.trace_lo
    WHERE e.name = 'llm_request' AND e.span_id <> h.span_id
        AND (e.parent_id = h.span_id OR (e.request_id = h.request_id AND e.attempt = h.attempt))
)
SELECT
    h.start_ns AS arrival_ns, COALESCE(h.end_ns, h.start_ns + h.e2e_ns) AS end_ns, h.trace_hi, h.trace_lo, h.span_id,
    COALESCE(e.span_id, CASE WHEN h.name = 'llm_request' THEN h.span_id END) AS engine_span_id,
    CASE WHEN h.name = 'llm_request' THEN NULL ELSE h.entity END AS gateway,
    {attempt_columns}
FROM heads h
LEFT JOIN engines e ON e.head_hi = h.trace_hi AND e.head_lo = h.trace_lo AND e.head_span = h.span_id AND e.place = 1
