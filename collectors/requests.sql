-- One row for each attempt of each request, from spans. requests_table.py fills in {{spans}} and the columns' lists.
--
-- An attempt is known in its trace by (request id, attempt number); a source that does not number its attempts has one row for each
-- span that stands for an attempt. A span that carries the phases (e2e_ns is not NULL) is a row as it is, and the engine's
-- span `llm_request` below it fills what it leaves open. Without such a span the row is assembled: from an `llm_request`
-- span, or a span whose children are phases, and those children.
-- An engine span that is numbered (flashover.attempt) but has no phases waits for its root: it makes no row.
WITH carriers AS (
    -- Spans that carry the phases; the outermost one speaks for the attempt, a span delivered twice speaks once.
    SELECT
        s.*,
        row_number() OVER (
            PARTITION BY s.trace_hi, s.trace_lo,
                CASE WHEN s.request_id IS NOT NULL AND s.attempt IS NOT NULL THEN s.request_id END,
                CASE WHEN s.request_id IS NOT NULL AND s.attempt IS NOT NULL THEN s.attempt END,
                CASE WHEN s.request_id IS NULL OR s.attempt IS NULL THEN s.span_id END
            ORDER BY CASE WHEN s.parent_id IS NULL THEN 0 ELSE 1 END, s.start_ns, s.span_id, s.frame
        ) AS place
    FROM {spans} s
    WHERE s.e2e_ns IS NOT NULL
),
inner_carriers AS (
    -- Carriers directly below another one: the engine's own account of an attempt that a gateway accounts for.
    SELECT DISTINCT c.trace_hi, c.trace_lo, c.span_id
    FROM carriers c
    JOIN carriers p ON p.trace_hi = c.trace_hi AND p.trace_lo = c.trace_lo AND p.span_id = c.parent_id
),
roots AS (
    SELECT c.*
    FROM carriers c
    LEFT JOIN inner_carriers i ON i.trace_hi = c.trace_hi AND i.trace_lo = c.trace_lo AND i.span_id = c.span_id
    WHERE c.place = 1 AND i.span_id IS NULL
),
engines AS (
    -- The engine's span of each root: its child, or the one with the same request id and attempt in the trace.
    SELECT
        r.trace_hi AS root_hi, r.trace_lo AS root_lo, r.span_id AS root_span, e.*,
        row_number() OVER (
            PARTITION BY r.trace_hi, r.trace_lo, r.span_id
            ORDER BY CASE WHEN e.parent_id = r.span_id THEN 0 ELSE 1 END, e.start_ns, e.span_id, e.frame
        ) AS place
    FROM roots r
    JOIN {spans} e ON e.trace_hi = r.trace_hi AND e.trace_lo = r.trace_lo
    WHERE e.name = 'llm_request' AND e.span_id <> r.span_id
        AND (e.parent_id = r.span_id OR (e.request_id = r.request_id AND e.attempt = r.attempt))
),
rows_of_roots AS (
    SELECT
        r.start_ns AS arrival_ns, r.end_ns AS end_ns, r.trace_hi, r.trace_lo, r.span_id,
        COALESCE(e.span_id, CASE WHEN r.name = 'llm_request' THEN r.span_id END) AS engine_span_id,
        CASE WHEN r.name = 'llm_request' THEN NULL ELSE r.entity END AS gateway,
        {root_or_engine}
    FROM roots r
    LEFT JOIN engines e
        ON e.root_hi = r.trace_hi AND e.root_lo = r.trace_lo AND e.root_span = r.span_id AND e.place = 1
),
phase_spans AS (
    -- Child spans that are a phase: vLLM's vllm_<phase> and the plain names. A span delivered twice counts once.
    SELECT DISTINCT trace_hi, trace_lo, span_id, parent_id, start_ns, end_ns,
        CASE
            WHEN name IN ('gateway', 'route', 'kv_sync', 'queue', 'kv_transfer', 'prefill', 'decode', 'preempted', 'stream')
                THEN name
            WHEN name = 'vllm_queue' THEN 'queue'
            WHEN name = 'vllm_prefill' THEN 'prefill'
            WHEN name = 'vllm_decode' THEN 'decode'
            WHEN name IN ('vllm_async_kv_transfer', 'vllm_kv_transfer') THEN 'kv_transfer'
        END AS phase
    FROM {spans}
    WHERE parent_id IS NOT NULL AND e2e_ns IS NULL
        AND name IN ('gateway', 'route', 'kv_sync', 'queue', 'kv_transfer', 'prefill', 'decode', 'preempted', 'stream',
                     'vllm_queue', 'vllm_prefill', 'vllm_decode', 'vllm_async_kv_transfer', 'vllm_kv_transfer')
),
phases AS (
    SELECT trace_hi, trace_lo, parent_id, min(start_ns) AS first_ns, max(end_ns) AS last_ns,
        {phase_sums}
    FROM phase_spans
    GROUP BY trace_hi, trace_lo, parent_id
),
covered AS (
    -- Traces with a carrier, and what it says of itself: what it stands for is not assembled once more.
    SELECT DISTINCT trace_hi, trace_lo, request_id, attempt FROM carriers
),
bases AS (
    -- Spans to assemble an attempt around.
    SELECT
        b.*,
        row_number() OVER (
            PARTITION BY b.trace_hi, b.trace_lo,
                CASE WHEN b.request_id IS NOT NULL AND b.attempt IS NOT NULL THEN b.request_id END,
                CASE WHEN b.request_id IS NOT NULL AND b.attempt IS NOT NULL THEN b.attempt END,
                CASE WHEN b.request_id IS NULL OR b.attempt IS NULL THEN b.span_id END
            ORDER BY b.start_ns, b.span_id, b.frame
        ) AS place,
        {phase_columns}
    FROM {spans} b
    LEFT JOIN phases p ON p.trace_hi = b.trace_hi AND p.trace_lo = b.trace_lo AND p.parent_id = b.span_id
    WHERE b.e2e_ns IS NULL
        AND (p.parent_id IS NOT NULL OR (b.name = 'llm_request' AND (b.attempt IS NULL OR b.queue_ns IS NOT NULL)))
),
rows_of_bases AS (
    SELECT
        b.start_ns AS arrival_ns, b.end_ns AS end_ns, b.trace_hi, b.trace_lo, b.span_id,
        CASE WHEN b.name = 'llm_request' THEN b.span_id END AS engine_span_id,
        CASE WHEN b.name = 'llm_request' THEN NULL ELSE b.entity END AS gateway,
        {base_or_phases}
    FROM bases b
    LEFT JOIN covered c
        ON c.trace_hi = b.trace_hi AND c.trace_lo = b.trace_lo
            AND (c.request_id IS NULL OR b.request_id IS NULL OR c.request_id = b.request_id)
            AND (c.attempt IS NULL OR b.attempt IS NULL OR c.attempt = b.attempt)
    WHERE b.place = 1 AND c.trace_hi IS NULL
)
SELECT * FROM rows_of_roots
UNION ALL
SELECT * FROM rows_of_bases
