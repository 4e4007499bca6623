"""Log records, control facts and engine steps come back as they went in; what cannot is kept with its bytes, and counted."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from otlp_bodies import SECOND, START
from sdk_bodies import (
    ATTRIBUTES,
    ENTITIES,
    INT32,
    INT64,
    TEXTS,
    TIMES,
    VALUES,
    all_said,
    decoded,
    log_record,
    logs_body,
    says,
)

from collectors.schema import STEPS

STEP = "flashover.step"
EVENT_NAMES = st.sampled_from([None, "", "flashover.event.deploy", "flashover.event.", "gen_ai.evaluated"])
RECORDS = st.lists(st.tuples(
    TIMES, VALUES, st.integers(0, 24), EVENT_NAMES, ATTRIBUTES,
    st.fixed_dictionaries({}, optional={"flashover.entity": st.just("kv_index:main"),
                                        "event.name": st.sampled_from(["flashover.event.alert", "other"])})), max_size=5)
BODY_COLUMNS = [column for column in STEPS.columns if column.name != "frame"]


@given(ENTITIES, RECORDS)
@settings(max_examples=60)
def test_records_and_events_come_back(who: dict[str, str], records: list[Any]) -> None:
    """A record named ``flashover.event.<kind>``, also by the older attribute, is an event; its entity may be another's."""
    sent = [log_record(ts_ns, body, severity=severity, event_name=name, attributes={**more, **special})
            for ts_ns, body, severity, name, more, special in records]
    tables = decoded(logs_body(who, *sent))
    service = who.get("service.name")
    emitter = who.get("flashover.entity") or (f"service:{service}" if service else None)
    events, logs = tables["events"].to_pylist(), tables["logs"].to_pylist()
    assert all(rows == sorted(rows, key=lambda row: row["ts_ns"]) for rows in (events, logs))
    assert len(events) + len(logs) == len(records) and tables["rejects"].num_rows == 0
    for ts_ns, body, severity, event_name, more, special in records:
        name = event_name or special.get("event.name")
        kind = name.removeprefix("flashover.event.") if name and name.startswith("flashover.event.") else None
        if kind is None:
            expected = {"ts_ns": ts_ns, "severity": severity or None, "entity": emitter, "event_name": name, "frame": 1}
            text, attributes = "body", {**more, **special}
        else:
            expected = {"ts_ns": ts_ns, "kind": kind, "entity": special.get("flashover.entity", emitter), "frame": 1}
            text, attributes = "summary", {**more, **{key: special[key] for key in special if key != "flashover.entity"}}
        rows = logs if kind is None else events
        found = next(row for row in rows if expected.items() <= row.items() and says(row[text], body)
                     and all_said(row["attributes"], attributes))
        rows.remove(found)


def test_a_record_s_time_is_its_own_or_when_it_was_observed_and_one_without_is_rejected() -> None:
    tables = decoded(logs_body({}, log_record(None, "seen", observed_ns=7), log_record(9, "both", observed_ns=8),
                               log_record(None, "never"), log_record(1 << 63, "far")))
    assert [(row["ts_ns"], row["body"]) for row in tables["logs"].to_pylist()] == [(7, "seen"), (9, "both")]
    assert [row["reason"] for row in tables["rejects"].to_pylist()] == [
        "it has no time", f"time {1 << 63} ns is beyond the year 2262"]
    assert b"never" in tables["rejects"].column("body")[0].as_py()


def stream(columns: dict[str, pa.Array], batches: int = 1) -> bytes:
    """Columns as an Arrow IPC stream, cut into ``batches``."""
    table = pa.table(columns)
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, -(-table.num_rows // batches)))
    return out.getvalue()


def step_body(body: bytes, entity: str = "replica:r0") -> tuple[Any, bytes]:
    return logs_body({"flashover.entity": entity}, log_record(START, body, event_name=STEP))


VALUES_OF: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS, "int64": INT64, "int32": INT32, "list<item: int32>": st.lists(INT32, max_size=4),
    "list<item: struct<request: int64, tokens: int32>>": st.lists(
        st.fixed_dictionaries({"request": INT64, "tokens": INT32 | st.none()}), max_size=3)}
STEP_ROW = st.fixed_dictionaries({column.name: st.none() | VALUES_OF[str(column.type).replace("element:", "item:")]
                                  for column in BODY_COLUMNS if column.name != "start_ns"} | {"start_ns": TIMES})


@given(st.lists(STEP_ROW, max_size=4), st.sets(st.sampled_from([column.name for column in BODY_COLUMNS])), st.integers(1, 3))
@settings(max_examples=40)
def test_steps_come_back_and_columns_that_were_not_sent_are_null(
    rows: list[dict[str, Any]], left_out: set[str], batches: int
) -> None:
    """Any subset of the columns, in any number of batches; without ``replica`` it is the emitter."""
    sent = [column for column in BODY_COLUMNS if column.name not in left_out - {"start_ns"}]
    body = stream({column.name: pa.array([row[column.name] for row in rows], column.type) for column in sent}, batches)
    table = decoded(step_body(body))["steps"]
    names = {column.name for column in sent}
    filled = {**dict.fromkeys(STEPS.arrow.names), "replica": "replica:r0", "frame": 1}
    expected = [{**filled, **{name: row[name] for name in names}} for row in rows]
    got = table.to_pylist()
    assert sorted(json.dumps(row, sort_keys=True) for row in got) == sorted(json.dumps(row, sort_keys=True) for row in expected)
    assert [row["start_ns"] for row in got] == sorted(row["start_ns"] for row in rows)


def test_columns_of_other_widths_fit_if_their_values_do_and_unknown_ones_are_counted() -> None:
    tables = decoded(
        step_body(stream({"start_ns": pa.array([5], pa.uint64()), "running": pa.array([3], pa.int8()), "new": pa.array([1])})),
        step_body(stream({"start_ns": pa.array([6]), "running": pa.array([1 << 31])})),
        step_body(stream({"start_ns": pa.array([7.5])})))
    assert tables["steps"].select(["start_ns", "running"]).to_pylist() == [{"start_ns": 5, "running": 3}]
    assert [(row["frame"], row["reason"].split(":")[1]) for row in tables["rejects"].to_pylist()] == [
        (2, " column running"), (3, " column start_ns")]


NO_STEPS = {
    "nothing": b"", "text": b"no stream", "a stream that ends early": stream({"start_ns": pa.array([1])})[:-60],
    "no start": stream({"step_id": pa.array([1])}), "a null start": stream({"start_ns": pa.array([1, None])}),
    "a negative start": stream({"start_ns": pa.array([-1])}),
    "a name that is no text": stream({"start_ns": pa.array([1]), "name": pa.array([2])}).replace(b"name", b"\xffame"),
}


@pytest.mark.parametrize("body", NO_STEPS.values(), ids=NO_STEPS)
def test_a_step_body_that_cannot_be_rows_is_kept_with_its_bytes_and_costs_no_other(body: bytes) -> None:
    good = stream({"start_ns": pa.array([START])})
    records = [log_record(START, good, event_name=STEP), log_record(START, body, event_name=STEP), log_record(START, "text")]
    tables = decoded(logs_body({}, *records))
    assert tables["steps"].num_rows == tables["logs"].num_rows == 1
    (reject,) = tables["rejects"].to_pylist()
    _, alone = logs_body({}, records[1])
    assert reject["body"] == ExportLogsServiceRequest.FromString(alone).resource_logs[0].scope_logs[0].log_records[
        0].SerializeToString()
    assert reject["reason"].startswith("step body")


def test_a_step_record_needs_no_time_of_its_own() -> None:
    record = log_record(None, stream({"start_ns": pa.array([START + SECOND])}), event_name=STEP)
    tables = decoded(logs_body({}, record))
    assert tables["steps"].column("start_ns").to_pylist() == [START + SECOND] and tables["rejects"].num_rows == 0


def test_a_record_tells_the_span_it_was_written_in() -> None:
    """Ids of zeros are none; a record with an id of another length is kept in the rejects."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    records.add(time_unix_nano=1, trace_id=bytes(7) + b"\1" + b"\xff" * 8, span_id=b"\x80" + bytes(7), severity_text="WARN")
    records.add(time_unix_nano=2, trace_id=bytes(16), span_id=bytes(8))
    records.add(time_unix_nano=3)
    records.add(time_unix_nano=4, span_id=b"\1")
    tables = decoded(("logs", request.SerializeToString()))
    columns = ["ts_ns", "trace_hi", "trace_lo", "span_id", "severity_text"]
    assert [tuple(row.values()) for row in tables["logs"].select(columns).to_pylist()] == [
        (1, 1, -1, -(1 << 63), "WARN"), (2, None, None, None, None), (3, None, None, None, None)]
    assert [row["reason"].split(":")[0] for row in tables["rejects"].to_pylist()] == ["an id has the wrong length"]
