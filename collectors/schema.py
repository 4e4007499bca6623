"""The telemetry contract: every table that Flashover stores, column by column.

Names carry units, time is UTC nanoseconds as int64 (Delta has no unsigned integers and no nanosecond timestamps),
a missing value is NULL and never 0. An entity is ``kind:name`` (see ``ENTITY_KINDS``). ``frame`` is the journal
sequence number of the body a row came from: it is how a row is traced back to what was acknowledged.

Phases follow one rule: an attempt is in exactly one state at any time, so the phase columns are disjoint and sum to
``e2e_ns``; time that its source does not account for is in none of them. Queueing is nothing but waiting for a slot.
"""

from __future__ import annotations

import pyarrow as pa

from collectors.columns import Column, Table

SCHEMA_VERSION = 1

ENTITY_KINDS = (
    "region gateway traffic_manager router kv_index metadata_master pool replica rank gpu host expert link "
    "control_plane service cohort"
).split()

PHASES = (
    "gateway_ns route_ns kv_sync_ns queue_ns kv_transfer_ns prefill_ns decode_ns preempted_ns stream_ns"
).split()
"""The states of an attempt, in the order it normally passes them. They sum to ``e2e_ns``."""

OUTCOMES = "ok timeout rejected error cancelled".split()
"""How an attempt ended as its client saw it. ``timeout``: the client gave up; ``rejected``: turned away (429/503)."""

EDGE_KINDS = "calls routes_to runs_on part_of syncs_kv transfers_kv retries_of".split()

_I64, _I32, _F64, _STR = pa.int64(), pa.int32(), pa.float64(), pa.string()
_MAP = pa.map_(_STR, _STR)

_FRAME = Column("frame", _I64, "", "journal sequence number of the body this row came from", "derived")

_ATTEMPT = (
    Column("request_id", _STR, "", "the user's request; the same for all its attempts", "gen_ai.request.id"),
    Column("attempt", _I32, "", "1 for the first attempt, 2 for its first retry, ...", "flashover.attempt"),
    Column("cohort", _STR, "", "class of clients the attempt belongs to", "flashover.cohort"),
    Column("tier", _STR, "", "service tier (free, paid, ...)", "flashover.tier"),
    Column("session", _STR, "", "conversation the request belongs to", "gen_ai.conversation.id"),
    Column("user_hash", _I64, "", "hash of the user; never a name", "flashover.user_hash"),
    Column("replica", _STR, "", "entity that served the attempt, NULL when it reached none", "flashover.replica"),
    Column("outcome", _STR, "", "ok | timeout | rejected | error | cancelled, as the client saw it", "flashover.outcome"),
    Column("prompt_tokens", _I64, "tokens", "prompt length as the user sent it (unscaled)",
           "gen_ai.usage.input_tokens, gen_ai.usage.prompt_tokens"),
    Column("cached_tokens", _I64, "tokens", "prompt tokens served from the prefix cache",
           "gen_ai.usage.cache_read.input_tokens, gen_ai.usage.cached_tokens"),
    Column("computed_tokens", _I64, "tokens", "prompt tokens computed, recomputation included", "flashover.computed_tokens"),
    Column("recomputed_tokens", _I64, "tokens", "prompt tokens computed again after preemption", "flashover.recomputed_tokens"),
    Column("output_tokens", _I64, "tokens", "tokens generated, whether or not anybody was still waiting for them",
           "gen_ai.usage.output_tokens, gen_ai.usage.completion_tokens"),
    Column("predicted_blocks", _I32, "blocks", "prefix blocks that the router expected to hit on the chosen replica",
           "flashover.predicted_blocks"),
    Column("hit_blocks", _I32, "blocks", "prefix blocks actually hit on that replica", "flashover.hit_blocks"),
    Column("prompt_blocks", _I32, "blocks", "whole KV blocks of the prompt", "flashover.prompt_blocks"),
    *(Column(phase, _I64, "ns", f"time the attempt spent in state {phase[:-3]}", f"flashover.{phase}") for phase in PHASES),
    Column("ttft_ns", _I64, "ns", "arrival at the gateway to first token; NULL when none came in time",
           "flashover.ttft_ns, gen_ai.latency.time_to_first_token"),
    Column("e2e_ns", _I64, "ns", "arrival at the gateway to the end the client saw", "flashover.e2e_ns, gen_ai.latency.e2e"),
    Column("busy_ns", _I64, "ns", "share of engine step time spent on the attempt, also after its client left",
           "flashover.busy_ns"),
    Column("wasted_ns", _I64, "ns", "the part of busy_ns after the client had left, all of it for a failed attempt",
           "flashover.wasted_ns"),
    Column("preemptions", _I32, "", "times the attempt was preempted", "flashover.preemptions"),
    Column("gpu_ns", _I64, "ns", "GPU time share; NULL without a GPU", "flashover.gpu_ns"),
    Column("energy_mj", _I64, "mJ", "energy share, sums to the NVML counter; NULL without a GPU", "flashover.energy_mj"),
    Column("kv_block_ns", _I64, "blocks*ns", "KV blocks held times the time they were held", "flashover.kv_block_ns"),
)

ATTEMPT_COLUMNS = tuple(column.name for column in _ATTEMPT)

SPANS = Table("spans", "one OTLP span", ("start_ns",), (
    Column("trace_hi", _I64, "", "upper 64 bits of the trace id, as signed", "Span.trace_id"),
    Column("trace_lo", _I64, "", "lower 64 bits of the trace id, as signed", "Span.trace_id"),
    Column("span_id", _I64, "", "span id, as signed", "Span.span_id"),
    Column("parent_id", _I64, "", "parent span id, NULL for a root", "Span.parent_span_id"),
    Column("name", _STR, "", "span name", "Span.name"),
    Column("kind", _I32, "", "OTLP span kind number", "Span.kind"),
    Column("start_ns", _I64, "ns", "start", "Span.start_time_unix_nano"),
    Column("end_ns", _I64, "ns", "end; NULL when it was not sent", "Span.end_time_unix_nano"),
    Column("status_code", _I32, "", "0 unset, 1 ok, 2 error", "Span.status.code"),
    Column("status_message", _STR, "", "status message", "Span.status.message"),
    Column("service", _STR, "", "emitting service", "resource service.name"),
    Column("entity", _STR, "", "emitting entity, kind:name", "resource flashover.entity"),
    *_ATTEMPT,
    Column("attributes", _MAP, "",
           "attributes that have no column of their own, as text (JSON for lists and maps, base64 for bytes)",
           "Span.attributes"),
    Column("resource", _MAP, "", "resource attributes that have no column of their own", "Resource.attributes"),
    Column("events", pa.list_(pa.struct([("ts_ns", _I64), ("name", _STR), ("attributes", _MAP)])), "",
           "span events", "Span.events"),
    Column("links", pa.list_(pa.struct([("trace_hi", _I64), ("trace_lo", _I64), ("span_id", _I64), ("attributes", _MAP)])),
           "", "span links", "Span.links"),
    _FRAME,
))

REQUESTS = Table("requests", "one attempt of one request", ("arrival_ns",), (
    Column("arrival_ns", _I64, "ns", "arrival at the gateway", "derived"),
    Column("end_ns", _I64, "ns", "the end the client saw", "derived"),
    Column("trace_hi", _I64, "", "upper 64 bits of the trace id", "derived"),
    Column("trace_lo", _I64, "", "lower 64 bits of the trace id", "derived"),
    Column("span_id", _I64, "", "id of the attempt's root span", "derived"),
    Column("engine_span_id", _I64, "", "id of the engine's span for the attempt; the key of steps.batch", "derived"),
    Column("gateway", _STR, "", "entity that took the attempt in", "derived"),
    *_ATTEMPT,
))

STEPS = Table("steps", "one engine step", ("start_ns",), (
    Column("replica", _STR, "", "entity that ran the step", "flashover.step body"),
    Column("step_id", _I64, "", "step counter of the replica", "FPM counter_id"),
    Column("start_ns", _I64, "ns", "start", "flashover.step body"),
    Column("duration_ns", _I64, "ns", "duration", "FPM wall_time"),
    Column("prefill_tokens", _I64, "tokens", "prompt tokens computed (unscaled)", "FPM sum_prefill_tokens"),
    Column("decode_tokens", _I64, "tokens", "output tokens produced (unscaled)", "flashover.step body"),
    Column("engine_tokens", _I64, "tokens", "tokens that the runner computed (scaled); what expert_load counts",
           "flashover.step body"),
    Column("running", _I32, "requests", "requests in the batch", "vllm:num_requests_running"),
    Column("waiting", _I32, "requests", "requests waiting for a slot", "vllm:num_requests_waiting"),
    Column("waiting_capacity", _I32, "requests", "waiting for a slot or for KV blocks",
           "vllm:num_requests_waiting_by_reason{reason=capacity}"),
    Column("waiting_deferred", _I32, "requests", "waiting for something else (KV transfer, adapter)",
           "vllm:num_requests_waiting_by_reason{reason=deferred}"),
    Column("kv_used_blocks", _I64, "blocks", "KV blocks referenced by running requests", "vllm:kv_cache_usage_perc"),
    Column("kv_total_blocks", _I64, "blocks", "KV blocks of the pool", "vllm:cache_config_info num_gpu_blocks"),
    Column("kv_evicted_blocks", _I64, "blocks", "cached blocks evicted during the step", "BlockRemoved"),
    Column("preempted", _I32, "requests", "requests preempted during the step", "vllm:num_preemptions"),
    Column("recomputed_tokens", _I64, "tokens", "tokens computed again after preemption", "vllm:prompt_tokens_recomputed"),
    Column("batch", pa.list_(pa.struct([("request", _I64), ("tokens", _I32)])), "",
           "who shared the step: engine span id and scaled tokens computed for it", "flashover.step body"),
    Column("expert_load", pa.list_(_I32), "tokens", "tokens routed to each expert, layer-major (layer x expert)",
           "flashover.step body"),
    _FRAME,
))

SERIES = Table("series", "one metric series", ("series_id",), (
    Column("series_id", _I64, "", "stable 64-bit hash of name, entity and labels", "derived"),
    Column("name", _STR, "", "metric name as it was sent", "Metric.name"),
    Column("entity", _STR, "", "emitting entity, kind:name", "resource flashover.entity"),
    Column("labels", _MAP, "", "data point attributes", "DataPoint.attributes"),
    Column("signal", _STR, "", "canonical signal from the dialects; NULL when no dialect knows the name", "derived"),
    Column("type", _STR, "", "gauge | counter | histogram | exponential_histogram | summary", "Metric.data"),
    Column("unit", _STR, "", "unit as it was sent", "Metric.unit"),
    Column("bounds", pa.list_(_F64), "", "upper bounds of a histogram's buckets, the last one open",
           "HistogramDataPoint.explicit_bounds"),
    _FRAME,
))

SAMPLES = Table("samples", "one sample of one series", ("series_id", "ts_ns"), (
    Column("series_id", _I64, "", "the series", "derived"),
    Column("ts_ns", _I64, "ns", "time of the sample", "DataPoint.time_unix_nano"),
    Column("start_ns", _I64, "ns", "what the source counts from: since then, or since the sample before if it sends deltas",
           "DataPoint.start_time_unix_nano"),
    Column("value", _F64, "",
           "value of a gauge, cumulative value of a counter, whole numbers exact to 2^53; NULL for other types and for "
           "no recorded value", "NumberDataPoint.as_double, NumberDataPoint.as_int"),
    Column("hist_count", _I64, "", "observations since the previous sample of the series; any histogram or summary",
           "HistogramDataPoint.count"),
    Column("hist_sum", _F64, "", "sum of those observations", "HistogramDataPoint.sum"),
    Column("hist_min", _F64, "", "least observation, as it was sent: since start_ns", "HistogramDataPoint.min"),
    Column("hist_max", _F64, "", "greatest observation, as it was sent: since start_ns", "HistogramDataPoint.max"),
    Column("hist_deltas", pa.list_(_I64), "", "observations per bucket since the previous sample",
           "HistogramDataPoint.bucket_counts"),
    Column("exp_scale", _I32, "", "scale of an exponential histogram: bucket i ends at 2^((i + 1) / 2^scale), itself included",
           "ExponentialHistogramDataPoint.scale"),
    Column("exp_zero_count", _I64, "", "observations since the previous sample that count as zero",
           "ExponentialHistogramDataPoint.zero_count"),
    Column("exp_zero_threshold", _F64, "", "absolute values up to it count as zero",
           "ExponentialHistogramDataPoint.zero_threshold"),
    Column("exp_positive_offset", _I32, "", "index of the first of exp_positive",
           "ExponentialHistogramDataPoint.positive.offset"),
    Column("exp_positive", pa.list_(_I64), "",
           "observations per bucket since the previous sample, without empty buckets at the ends",
           "ExponentialHistogramDataPoint.positive.bucket_counts"),
    Column("exp_negative_offset", _I32, "", "index of the first of exp_negative",
           "ExponentialHistogramDataPoint.negative.offset"),
    Column("exp_negative", pa.list_(_I64), "", "the same for absolute values of negative observations",
           "ExponentialHistogramDataPoint.negative.bucket_counts"),
    Column("quantiles", pa.list_(pa.struct([("quantile", _F64), ("value", _F64)])), "",
           "what a summary says its quantiles are (0 least, 1 greatest)", "SummaryDataPoint.quantile_values"),
    Column("exemplars", pa.list_(pa.struct([("ts_ns", _I64), ("value", _F64), ("trace_hi", _I64), ("trace_lo", _I64),
                                            ("span_id", _I64), ("attributes", _MAP)])), "",
           "single observations and the spans they were made in; NULL when none were sent", "DataPoint.exemplars"),
    _FRAME,
))

ROLLUPS = Table("rollups", "one minute of one series, from its samples that are numbers", ("series_id", "minute_ns"), (
    Column("series_id", _I64, "", "the series", "derived"),
    Column("minute_ns", _I64, "ns", "begin of the minute", "derived"),
    Column("n", _I64, "", "samples of the minute; NaN is not counted, here or below", "derived"),
    Column("min", _F64, "", "least value; NULL for a histogram, as are the next four", "derived"),
    Column("max", _F64, "", "greatest value", "derived"),
    Column("sum", _F64, "", "sum of values", "derived"),
    Column("first", _F64, "", "earliest value", "derived"),
    Column("last", _F64, "", "latest value", "derived"),
    Column("hist_count", _I64, "", "observations of the minute's samples", "derived"),
    Column("hist_sum", _F64, "", "sum of those observations", "derived"),
    Column("hist_deltas", pa.list_(_I64), "", "observations per bucket; NULL when the buckets changed within the minute",
           "derived"),
))

EVENTS = Table("events", "one control fact with a time", ("ts_ns",), (
    Column("ts_ns", _I64, "ns", "when it happened", "LogRecord.time_unix_nano"),
    Column("kind", _STR, "", "deploy | config_change | scale | failover | rebalance | load_shed | health | alert | note | run",
           "LogRecord.event_name flashover.event.<kind>"),
    Column("entity", _STR, "", "entity it happened to", "flashover.entity"),
    Column("summary", _STR, "", "one line as an operator's change log would hold it", "LogRecord.body"),
    Column("attributes", _MAP, "", "the rest", "LogRecord.attributes"),
    _FRAME,
))

LOGS = Table("logs", "one log record that is no event", ("ts_ns",), (
    Column("ts_ns", _I64, "ns", "time", "LogRecord.time_unix_nano"),
    Column("severity", _I32, "", "OTLP severity number; NULL when unspecified", "LogRecord.severity_number"),
    Column("severity_text", _STR, "", "what the source calls that severity", "LogRecord.severity_text"),
    Column("entity", _STR, "", "emitting entity", "resource flashover.entity"),
    Column("event_name", _STR, "", "event name, NULL for a plain record", "LogRecord.event_name"),
    Column("body", _STR, "", "text", "LogRecord.body"),
    Column("trace_hi", _I64, "", "upper 64 bits of the trace id that the record was written in", "LogRecord.trace_id"),
    Column("trace_lo", _I64, "", "lower 64 bits of that id", "LogRecord.trace_id"),
    Column("span_id", _I64, "", "id of the span that the record was written in", "LogRecord.span_id"),
    Column("attributes", _MAP, "", "attributes", "LogRecord.attributes"),
    _FRAME,
))

EDGES = Table("edges", "one typed relation between two entities, as seen in one round of decoding", ("kind",), (
    Column("src", _STR, "", "entity the relation starts from", "derived"),
    Column("dst", _STR, "", "entity it points at", "derived"),
    Column("kind", _STR, "", "calls | routes_to | runs_on | part_of | syncs_kv | transfers_kv | retries_of", "derived"),
    Column("first_seen_ns", _I64, "ns", "first time seen", "derived"),
    Column("last_seen_ns", _I64, "ns", "last time seen", "derived"),
    Column("count", _I64, "", "times seen", "derived"),
    _FRAME,
))

REJECTS = Table("rejects", "one body, or part of one, that could not be decoded", ("frame",), (
    Column("frame", _I64, "", "journal sequence number of the body", "derived"),
    Column("signal", _STR, "", "traces | metrics | logs", "derived"),
    Column("reason", _STR, "", "what the decoder said", "derived"),
    Column("body", pa.binary(), "", "the bytes", "derived"),
))

TABLES: dict[str, Table] = {
    table.name: table
    for table in (SPANS, REQUESTS, STEPS, SERIES, SAMPLES, ROLLUPS, EVENTS, LOGS, EDGES, REJECTS)
}
