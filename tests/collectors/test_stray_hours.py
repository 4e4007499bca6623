"""Made-up times make neither a hundred thousand files nor hours that are over before they are."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from otlp_bodies import START, body_of, resource, root_span, traces

from collectors.decode.stray_hours import MOST_HOURS, without_strays
from collectors.intake import Intake
from collectors.schema import LOGS
from collectors.snapshot import read_snapshot
from collectors.store import Store
from collectors.tables.hours import HOUR_NS, latest_of


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 6))
@settings(max_examples=100)
def test_the_fullest_hours_stay_and_no_row_is_lost(hours: list[int], most: int) -> None:
    rows = LOGS.arrow.empty_table().select(["ts_ns", "frame"])
    rows = pa.table({"ts_ns": pa.array([hour * HOUR_NS + 7 for hour in hours], pa.int64()),
                     "frame": pa.array(range(len(hours)), pa.int64())}, rows.schema)
    kept, strays = without_strays("logs", rows, most)
    assert sorted(kept.column("frame").to_pylist() + strays.column("frame").to_pylist()) == list(range(len(hours)))
    stay = {ns // HOUR_NS for ns in kept.column("ts_ns").to_pylist()}
    go = {ns // HOUR_NS for ns in strays.column("ts_ns").to_pylist()}
    assert len(stay) == min(most, len(set(hours))) and not stay & go
    assert not go or min((hours.count(hour), hour) for hour in stay) > max((hours.count(hour), hour) for hour in go)


def test_a_body_of_very_many_hours_is_bounded_and_the_rest_is_in_the_rejects(quick_path: Path) -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add(resource=resource("gateway:main")).scope_logs.add().log_records
    for hour in range(MOST_HOURS + 30):
        records.add(time_unix_nano=(hour + 1) * HOUR_NS, body=AnyValue(string_value=f"line {hour}"))
    with Intake.open(quick_path / "store") as intake:
        intake.put("logs", request.SerializeToString())
        intake.put(*body_of(3))
    with Store.open(quick_path / "store") as store:
        kept = store.query("SELECT count(DISTINCT ts_ns // 3600000000000) AS hours, count(*) AS rows FROM logs").to_pylist()
        assert kept == [{"hours": MOST_HOURS, "rows": MOST_HOURS}]
        rejects = store.query("SELECT reason, body FROM rejects ORDER BY body").to_pylist()
        assert len(rejects) == 31 and all("one hour of too many" in row["reason"] for row in rejects)
        assert b'"line 0"' in b"".join(row["body"] for row in rejects)


def test_a_time_far_ahead_ends_no_hour(quick_path: Path) -> None:
    ahead = 9_000_000_000_000_000_000
    with Intake.open(quick_path / "store") as intake:
        intake.put("traces", traces((resource("gateway:main"), [root_span(1, START), root_span(2, ahead)])))
        intake.sync()
        intake.drain()
        snapshot = read_snapshot(quick_path / "store")
        assert snapshot is not None and START <= snapshot.watermark_ns < START + HOUR_NS and snapshot.clean_hours == []
    with Store.open(quick_path / "store") as store:
        assert store.query("SELECT count(*) AS n FROM requests").to_pylist() == [{"n": 2}]


def test_the_latest_time_passes_over_what_is_missing_or_ahead() -> None:
    times = pa.chunked_array([pa.array([3, None, 9, 5], pa.int64())])
    assert [latest_of(times, most, 4) for most in (2, 5, 8, 9, 10)] == [4, 5, 5, 9, 9]
    assert latest_of(pa.chunked_array([], pa.int64()), 5, 4) == 4
