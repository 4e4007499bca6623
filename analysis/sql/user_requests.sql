-- One row for each request of a user, all its attempts together, that began in the window.
WITH attempts AS (
    SELECT
        trace_hi, trace_lo, COALESCE(request_id, '') AS request,
        COALESCE(cohort, 'all') AS cohort,
        arrival_ns, end_ns, prompt_tokens, outcome, ttft_ns,
        COALESCE(attempt, 1) AS attempt,
        row_number() OVER (
            PARTITION BY trace_hi, trace_lo, COALESCE(request_id, '') ORDER BY arrival_ns, span_id
        ) AS place
    FROM requests
    WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns
)
SELECT
    min(arrival_ns) AS begun_ns,                                          -- when the user first asked
    min(end_ns) AS first_end_ns,                                          -- end of the attempt that ended first
    max(end_ns) AS ended_ns,                                              -- end of the last attempt seen
    min(cohort) AS cohort,                                                -- the user's cohort
    count(*) AS attempts,                                                 -- attempts seen
    min(attempt) AS first_attempt,                                        -- above 1: began before the telemetry
    max(CASE WHEN outcome = 'ok' THEN 1 ELSE 0 END) AS answered,          -- 1 when any attempt was answered
    min(CASE WHEN outcome = 'ok' THEN arrival_ns + COALESCE(ttft_ns, 0) END) - min(arrival_ns) AS wait_ns,  -- to the first token
    max(CASE WHEN place = 1 THEN prompt_tokens END) AS prompt_tokens      -- prompt of the first attempt
FROM attempts
GROUP BY trace_hi, trace_lo, request
ORDER BY begun_ns, trace_hi, trace_lo, request
