"""A round decodes whatever bodies it is given: damage costs what is damaged, and the store gives back what was decoded."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)
from otlp_bodies import START, body_of, step_stream
from sdk_bodies import (
    ATTRIBUTES,
    ENTITIES,
    INT64,
    SPANS,
    TIMES,
    VALUES,
    SpanFacts,
    decoded,
    log_record,
    logs_body,
    metrics_body,
    traces_body,
)
from wire_fuzz import EDITS, edited, lenient

from collectors.decode.decode_metrics import KnownSeries
from collectors.decode.edges import SpanMemory
from collectors.decode.limits import Drops, Limits
from collectors.decode.resources import Emitters
from collectors.decode.round import Round
from collectors.decode.series_state import SeriesState
from collectors.dialects import Dialects
from collectors.intake import Intake
from collectors.schema import TABLES
from collectors.sink import Signal
from collectors.store import Store

REQUESTS: dict[Signal, Any] = {"traces": ExportTraceServiceRequest, "metrics": ExportMetricsServiceRequest,
                               "logs": ExportLogsServiceRequest}


def records_of(signal: Signal, body: bytes) -> int | None:
    """How many records the official classes find in a body; None when they cannot read it."""
    try:
        request = REQUESTS[signal].FromString(body)
    except DecodeError:
        return None
    if signal == "traces":
        return sum(len(scope.spans) for block in request.resource_spans for scope in block.scope_spans)
    if signal == "logs":
        return sum(len(scope.log_records) for block in request.resource_logs for scope in block.scope_logs)
    kept = ("gauge", "sum", "histogram")
    return sum(len(getattr(metric, which).data_points) if which in kept else 1
               for block in request.resource_metrics for scope in block.scope_metrics for metric in scope.metrics
               for which in [metric.WhichOneof("data")])


@cache
def alone(seq: int) -> dict[str, pa.Table]:
    return decoded(body_of(seq))


@given(st.integers(1, 9), EDITS)
@settings(max_examples=250)
def test_a_damaged_body_never_stops_a_round_and_costs_no_other_body(seq: int, edits: list[tuple[str, float, int]]) -> None:
    """Every record that the official classes find is a row or a reject; a body they cannot read is one reject."""
    signal, body = body_of(seq)
    body = edited(body, edits)
    assume(signal != "traces" or not lenient(body))
    around = [at for at in (1, 2, 3) if body_of(at)[0] != signal]
    tables = decoded(body_of(around[0]), (signal, body), body_of(around[1]))
    of_body = {name: [row for row in table.to_pylist() if row["frame"] == 2] for name, table in tables.items()}
    records = records_of(signal, body)
    kept = sum(len(of_body[name]) for name in ("spans", "samples", "events", "logs", "rejects"))
    if records is None:
        assert [(row["signal"], row["body"]) for row in of_body["rejects"]] == [(signal, None)]
        assert sum(map(len, of_body.values())) == 1
    else:
        assert kept == records or (signal == "logs" and kept == records - 1)  # the record whose body is steps
    for frame, other in ((1, around[0]), (3, around[1])):
        for name in ("spans", "samples", "series", "events", "logs", "steps", "rejects"):
            rows = [row for row in tables[name].to_pylist() if row["frame"] == frame]
            assert rows == [{**row, "frame": frame} for row in alone(other)[name].to_pylist()]


@st.composite
def any_bodies(draw: st.DrawFn) -> list[tuple[Signal, bytes]]:
    """Some bodies of every signal, as an SDK would send them."""
    bodies: list[tuple[Signal, bytes]] = []
    for _ in range(draw(st.integers(1, 2))):
        who = {**draw(ENTITIES), **draw(ATTRIBUTES), "flashover.edge.syncs_kv": "kv_index:main"}
        spans: list[SpanFacts] = draw(st.lists(SPANS, max_size=3))
        number = NumberDataPoint(draw(ATTRIBUTES), 0, draw(TIMES), draw(INT64 | st.floats()))
        counts = draw(st.lists(st.integers(0, 9), min_size=3, max_size=3))
        point = HistogramDataPoint({}, START, START + 1, sum(counts), draw(st.floats()), counts, [0.5, 1.5], 0, 0)
        steps = step_stream([{"start_ns": draw(TIMES), "step_id": draw(INT64), "expert_load": counts}])
        bodies += [
            traces_body((who, spans)),
            metrics_body(who, Metric("m", None, "1", Gauge([number])),
                         Metric("h", None, "s", Histogram([point], AggregationTemporality.CUMULATIVE))),
            logs_body(who, log_record(draw(TIMES), draw(VALUES), attributes=draw(ATTRIBUTES)), log_record(None, "no time"),
                      log_record(draw(TIMES), "text", event_name="flashover.event.note"),
                      log_record(START, steps, event_name="flashover.step"))]
    return [*bodies, ("traces", b"\xff")]


@given(any_bodies())
@settings(max_examples=25)
def test_a_round_by_the_official_classes_gives_the_same(bodies: list[tuple[Signal, bytes]]) -> None:
    fast, official = Drops(), Drops()
    tables, expected = decoded(*bodies, drops=fast), decoded(*bodies, drops=official, official=True)
    assert fast == official and tables.keys() == expected.keys()
    for name in TABLES:
        assert repr(tables[name].to_pylist()) == repr(expected[name].to_pylist()), name


@pytest.mark.parametrize("official", [False, True])
def test_a_round_is_full_by_the_bytes_of_its_bodies(monkeypatch: pytest.MonkeyPatch, official: bool) -> None:
    """How many spans a body holds is not known before it is decoded; what is left waits for the next round."""
    body = body_of(1)[1]
    monkeypatch.setattr("collectors.decode.round.ROUND_BYTES", 3 * len(body))
    work = Round(Emitters(Limits()), SpanMemory(), KnownSeries(set(), Dialects()), SeriesState(), {}, 0, Limits(), Drops(),
                 official)
    bodies = iter([(frame, "traces", body) for frame in range(1, 6)])
    work.take(bodies)  # type: ignore[arg-type]
    assert work.last_frame == 3 and work.tables()["spans"].column("frame").to_pylist() == [1, 2, 3]
    assert [frame for frame, _, _ in bodies] == [4, 5]


@given(any_bodies())
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_store_gives_back_what_a_round_decodes(quick_path: Path, bodies: list[tuple[Signal, bytes]]) -> None:
    """Through journal, tables and hours, every value of every column; ``requests`` have their own tests."""
    expected = decoded(*bodies)
    with tempfile.TemporaryDirectory(dir=quick_path) as folder:
        with Intake.open(Path(folder) / "store") as intake:
            for body in bodies:
                intake.put(*body)
        with Store.open(Path(folder) / "store") as store:
            for name in TABLES:
                if name not in ("requests", "rollups"):  # made of other rows
                    found = store.query(f"SELECT * FROM {name}").cast(TABLES[name].arrow)
                    assert sorted(map(repr, found.to_pylist())) == sorted(map(repr, expected[name].to_pylist())), name
            rejected = expected["rejects"].num_rows
            assert rejected >= 2 and sum(int(said.split()[0]) for said in store.warnings if "rejects" in said) == rejected
