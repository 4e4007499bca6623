"""Steps travel as Arrow in log records; control facts as plain ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import ReadableLogRecord

from collectors import schema
from collectors.sink import MemorySink
from instrumented_engine.telemetry import Telemetry, emitter
from instrumented_engine.telemetry.resources import SCOPE
from instrumented_engine.telemetry.steps import STEP_SCHEMA, StepColumns

START = 1_770_000_000_000_000_000
SCALARS = [field.name for field in STEP_SCHEMA if not pa.types.is_list(field.type)]
OPTIONAL = [name for name in SCALARS if name not in ("replica", "step_id", "start_ns", "duration_ns")]
LOADS = st.none() | st.lists(st.integers(0, (1 << 31) - 1), max_size=6)
BATCHES = st.lists(st.tuples(st.integers(1, (1 << 64) - 1), st.integers(0, (1 << 31) - 1)), max_size=4)
STEPS = st.fixed_dictionaries(
    {
        "replica": st.sampled_from(["r0", "r1"]),
        "start_ns": st.integers(0, (1 << 63) - 1),
        "batch": BATCHES,
        "load": LOADS,
        "columns": st.fixed_dictionaries(
            {}, optional={name: st.none() | st.integers(0, (1 << 31) - 1) for name in OPTIONAL}
        ),
    }
)


def signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def bodies(sink: MemorySink) -> list[ExportLogsServiceRequest]:
    return [ExportLogsServiceRequest.FromString(body) for signal, body in sink.bodies if signal == "logs"]


def step_tables(sink: MemorySink) -> list[tuple[str, pa.Table]]:
    """(entity of the resource, steps) per step record."""
    out = []
    for request in bodies(sink):
        for group in request.resource_logs:
            entity = {item.key: item.value.string_value for item in group.resource.attributes}["flashover.entity"]
            records = [record for record in group.scope_logs[0].log_records if record.event_name == "flashover.step"]
            out += [(entity, pa.ipc.open_stream(record.body.bytes_value).read_all()) for record in records]
    return out


def emit(telemetry: Telemetry, replicas: dict[str, Any], steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Emit ``steps`` and return the rows that must come out."""
    rows = []
    for number, step in enumerate(steps):
        ids, tokens = [request for request, _ in step["batch"]], [n for _, n in step["batch"]]
        load = None if step["load"] is None else np.array(step["load"], np.int32)
        telemetry.step(
            replicas[step["replica"]],
            step_id=number,
            start_ns=step["start_ns"],
            duration_ns=5,
            batch_ids=ids,
            batch_tokens=tokens,
            expert_load=load,
            **step["columns"],
        )
        batch = [{"request": signed(request), "tokens": n} for request, n in step["batch"]]
        rows.append(
            {
                **dict.fromkeys(OPTIONAL),
                **step["columns"],
                "replica": f"replica:{step['replica']}",
                "step_id": number,
                "start_ns": step["start_ns"],
                "duration_ns": 5,
                "batch": batch,
                "expert_load": step["load"],
            }
        )
    return rows


@given(st.lists(STEPS, min_size=1, max_size=8), st.booleans())
def test_steps_come_out_as_they_went_in(steps: list[dict[str, Any]], fleet: bool) -> None:
    sink = MemorySink()
    telemetry = Telemetry(sink, start_ns=START)
    pool = telemetry.resource("pool:main", "engine") if fleet else None
    replicas = {name: telemetry.resource(f"replica:{name}", "engine", steps_under=pool) for name in ("r0", "r1")}
    rows = emit(telemetry, replicas, steps)
    telemetry.flush(START)
    tables = step_tables(sink)
    assert all(table.schema == STEP_SCHEMA for _, table in tables)
    got = {entity: table.to_pylist() for entity, table in tables}
    if fleet:
        assert got == {"pool:main": rows}
    else:
        assert got == {
            name: mine
            for name in ("replica:r0", "replica:r1")
            if (mine := [row for row in rows if row["replica"] == name])
        }


def test_the_step_body_is_the_contract_without_frame() -> None:
    contract = [(column.name, column.type) for column in schema.STEPS.columns if column.name != "frame"]
    assert [(field.name, field.type) for field in STEP_SCHEMA] == contract
    assert [*SCALARS, "batch", "expert_load"] == [name for name, _ in contract]


def test_a_drained_accumulator_is_empty_and_goes_on() -> None:
    columns = StepColumns(10)
    row = ("replica:r0", *[1] * (len(SCALARS) - 1))
    for _ in range(3):
        columns.append(row, [9], [1], None)
        [stream] = columns.drain(1 << 20)
        assert pa.ipc.open_stream(stream).read_all().num_rows == 1
        assert len(columns) == 0 and columns.drain(1 << 20) == []


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30), st.integers(1, 4_000))
def test_long_flushes_are_cut_into_bounded_streams(sizes: list[int], limit: int) -> None:
    columns = StepColumns(100)
    for number, size in enumerate(sizes):
        scalars = ("replica:r0", number, *[None] * (len(SCALARS) - 2))
        columns.append(scalars, [number + 1] * size, [1] * size, np.full(size, number, np.int32))
    tables: list[Any] = [pa.ipc.open_stream(stream).read_all() for stream in columns.drain(limit)]
    assert [row["step_id"] for table in tables for row in table.to_pylist()] == list(range(len(sizes)))
    for table in tables:
        for row in table.to_pylist():
            assert row["expert_load"] == [row["step_id"]] * sizes[row["step_id"]]
            assert [member["request"] for member in row["batch"]] == [row["step_id"] + 1] * sizes[row["step_id"]]
        content = sum(8 * len(SCALARS) + 16 * sizes[row["step_id"]] for row in table.to_pylist())
        assert content <= limit or table.num_rows == 1


def test_a_batch_whose_lists_differ_is_refused() -> None:
    columns = StepColumns(10)
    with pytest.raises(ValueError, match="2 requests cannot have 1"):
        columns.append((), [1, 2], [1], None)
    assert len(columns) == 0


def test_an_expert_load_that_would_be_cut_is_refused() -> None:
    columns = StepColumns(10)
    columns.append(("replica:r0", *[1] * (len(SCALARS) - 1)), [], [], np.array([1 << 40]))
    with pytest.raises(TypeError):
        columns.drain(1 << 20)


ATTRIBUTES = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.text(max_size=8) | st.integers(-(1 << 63), (1 << 63) - 1) | st.booleans() | st.floats(),
    max_size=4,
)
EVENTS = st.tuples(
    st.sampled_from(["gateway", "router"]),
    st.sampled_from(["deploy", "rebalance", "note"]),
    st.text(max_size=30),
    st.integers(0, (1 << 63) - 1),
    st.none() | st.just("kv_index:main"),
    ATTRIBUTES,
)


@given(st.lists(EVENTS, min_size=1, max_size=6), st.lists(STEPS, max_size=3))
def test_a_body_of_logs_is_what_the_sdk_encodes(events: list[Any], steps: list[dict[str, Any]]) -> None:
    sink = MemorySink()
    telemetry = Telemetry(sink, start_ns=START)
    resources = {name: telemetry.resource(f"{name}:main", name) for name in ("gateway", "router")}
    pool = telemetry.resource("pool:main", "engine")
    now = START + 1
    expected = []
    for where, kind, summary, at_ns, entity, attributes in events:
        telemetry.event(resources[where], kind, summary, at_ns, entity=entity, attributes=attributes)
        named = {"flashover.entity": entity or f"{where}:main", **attributes}
        expected.append(log(resources[where].sdk, at_ns, now, f"flashover.event.{kind}", summary, named))
    emit(
        telemetry,
        {name: telemetry.resource(f"replica:{name}", "engine", steps_under=pool) for name in ("r0", "r1")},
        steps,
    )
    telemetry.flush(now)
    [(signal, body)] = sink.bodies
    if steps:
        [(_, table)] = step_tables(sink)
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, STEP_SCHEMA) as writer:
            writer.write_table(table)
        expected.append(log(pool.sdk, now, now, "flashover.step", stream.getvalue().to_pybytes(), {}))
    assert signal == "logs"
    assert body == encode_logs(expected).SerializeToString()


def log(
    resource: Any, at_ns: int, observed_ns: int, name: str, body: Any, attributes: dict[str, Any]
) -> ReadableLogRecord:
    record = LogRecord(
        timestamp=at_ns,
        observed_timestamp=observed_ns,
        severity_number=SeverityNumber.INFO,
        body=body,
        attributes=attributes,
        event_name=name,
    )
    return ReadableLogRecord(record, resource, SCOPE)


def test_an_attribute_of_an_event_that_is_none_is_left_out() -> None:
    sink = MemorySink()
    telemetry = Telemetry(sink, start_ns=START)
    telemetry.event(
        telemetry.resource("gateway:main", "gateway"), "note", "", START, attributes={"before": None, "after": False}
    )
    telemetry.flush(START)
    [record] = bodies(sink)[0].resource_logs[0].scope_logs[0].log_records
    assert [(item.key, item.value.WhichOneof("value")) for item in record.attributes] == [
        ("flashover.entity", "string_value"),
        ("after", "bool_value"),
    ]
    assert record.body.WhichOneof("value") == "string_value"


def test_many_step_bodies_stay_below_the_limit_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emitter, "BODY_BYTES", 20_000)
    sink = MemorySink()
    telemetry = Telemetry(sink, start_ns=START)
    replica = telemetry.resource("replica:r0", "engine")
    for number in range(200):
        telemetry.step(replica, step_id=number, start_ns=START, duration_ns=1, expert_load=np.zeros(64, np.int32))
    telemetry.flush(START)
    assert len(sink.bodies) > 1 and max(len(body) for _, body in sink.bodies) < 30_000
    assert [n for _, table in step_tables(sink) for n in table["step_id"].to_pylist()] == list(range(200))
