"""Data files: rows come back as they were under every encoding, names say what the bytes are, odd tables of old stores open."""

from __future__ import annotations

import json
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_store import BEGIN, JOURNAL, MadeStore, gauge, rows_of

from collectors.check_store import check_store
from collectors.errors import StoreBusy
from collectors.live_views import create_view, open_duckdb, sql_type
from collectors.schema import SAMPLES, SPANS, TABLES
from collectors.tables.data_files import checksum_of, columns_mark, hour_of, mark_of, write_data_file
from collectors.tables.delta_tables import CHECKPOINT_EVERY, DeltaTables
from collectors.tables.hours import HOUR, HOUR_NS, TIME_COLUMNS, hour_name, rows_by_hour
from collectors.tables.parquet_settings import ROW_GROUP_ROWS, writer_settings

INT64 = st.integers(-(2**63), 2**63 - 1)


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Values of a type of the contract."""
    if pa.types.is_map(kind):
        return st.dictionaries(st.text(max_size=3), values(kind.item_type), max_size=2).map(lambda found: list(found.items()))
    if pa.types.is_list(kind):
        return st.lists(values(kind.value_type), max_size=3)
    if pa.types.is_struct(kind):
        return st.fixed_dictionaries({field.name: values(field.type) for field in kind})
    return {"int64": INT64, "int32": st.integers(-(2**31), 2**31 - 1), "double": st.floats(allow_nan=False),
            "string": st.text(max_size=4), "binary": st.binary(max_size=4), "bool": st.booleans()}[str(kind)]


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, pa.Table]:
    """Some rows of some table, in one hour; values repeat or not."""
    name = draw(st.sampled_from(list(TABLES)))
    rows = draw(st.lists(st.fixed_dictionaries({column.name: st.none() | values(column.type)
                                                for column in TABLES[name].columns}), min_size=1, max_size=8))
    rows *= draw(st.sampled_from([1, 30]))
    if name in TIME_COLUMNS:
        for at, row in enumerate(rows):
            row = rows[at] = dict(row)
            row[TIME_COLUMNS[name]] = BEGIN + at
    return name, rows_of(name, rows)


@given(tables())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_come_back_and_the_name_says_the_bytes(quick_path: Path, found: tuple[str, pa.Table]) -> None:
    name, rows = found
    with tempfile.TemporaryDirectory(dir=quick_path) as folder:
        hour = hour_name(BEGIN // HOUR_NS) if name in TIME_COLUMNS else ""
        file = write_data_file(Path(folder), name, hour, rows.to_batches())
        content = (Path(folder) / file.path).read_bytes()
        assert (file.rows, file.size) == (rows.num_rows, len(content))
        assert checksum_of(file.path) == zlib.crc32(content)
        assert mark_of(file.path) == columns_mark(name) and hour_of(file.path) == hour
        with pq.ParquetFile(Path(folder) / file.path) as parquet:
            assert parquet.read().to_pylist() == rows.to_pylist()
        with open_duckdb() as connection:
            create_view(connection, "back", name, [f"{folder}/{file.path}"])
            back = connection.sql("SELECT * FROM back").to_arrow_table()
        assert back.schema.names == rows.schema.names and back.cast(rows.schema).to_pylist() == rows.to_pylist()


def test_large_files_have_row_groups_that_prune_by_time(tmp_path: Path) -> None:
    count = 2 * ROW_GROUP_ROWS + 5
    rows = pa.table([pa.array([1] * count), pa.array(range(BEGIN, BEGIN + count)),
                     *(pa.nulls(count, column.type) for column in SAMPLES.columns[2:])], schema=SAMPLES.arrow)
    batches = rows.to_batches(max_chunksize=50_000)
    file = write_data_file(tmp_path, "samples", hour_name(BEGIN // HOUR_NS), batches)
    with pq.ParquetFile(tmp_path / file.path) as parquet:
        meta = parquet.metadata
    groups = [meta.row_group(at) for at in range(meta.num_row_groups)]
    assert sum(group.num_rows for group in groups) == count == file.rows
    assert all(group.num_rows <= ROW_GROUP_ROWS for group in groups)
    bounds = [group.column(1).statistics for group in groups]
    assert [one.max for one in bounds[:-1]] < [one.min for one in bounds[1:]]
    assert (file.first_ns, file.last_ns) == (BEGIN, BEGIN + count - 1)
    assert json.loads(file.statistics("samples")) == {
        "numRecords": count, "minValues": {"ts_ns": BEGIN}, "maxValues": {"ts_ns": BEGIN + count - 1}}


def test_encodings_follow_what_the_values_look_like() -> None:
    count = 4000
    random_ids = pa.array([hash((at, "id")) for at in range(count)], pa.int64())
    events = pa.list_(pa.struct([("ts_ns", pa.int64()), ("name", pa.string())]))
    rows = pa.table({"events": pa.array([[{"ts_ns": at, "name": "queued"}] for at in range(count)], events),
                     "start_ns": pa.array(range(count), pa.int64()), "span_id": random_ids,
                     "trace_lo": pa.array(range(count), pa.int64()), "tokens": pa.array([7, 8] * (count // 2), pa.int64()),
                     "value": pa.array([at / 7 for at in range(count)]), "flat": pa.array([1.0] * count),
                     "request_id": pa.array([f"r{at}" for at in range(count)]), "tier": pa.array(["paid"] * count),
                     "labels": pa.array([[("a", "b")]] * count, pa.map_(pa.string(), pa.string()))})
    found = writer_settings(rows)
    assert found["column_encoding"] == {
        "start_ns": "DELTA_BINARY_PACKED", "span_id": "PLAIN", "trace_lo": "DELTA_BINARY_PACKED",
        "events.list.element.ts_ns": "DELTA_BINARY_PACKED", "value": "BYTE_STREAM_SPLIT",
        "request_id": "DELTA_LENGTH_BYTE_ARRAY"}
    assert found["use_dictionary"] == [
        "events.list.element.name", "tokens", "flat", "tier", "labels.key_value.key", "labels.key_value.value"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Any:
        yield from rows_of("events", [{"ts_ns": BEGIN, "frame": 1}]).to_batches()
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write_data_file(tmp_path, "events", "2026-01-01T00", broken())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@given(st.lists(st.integers(-5 * HOUR_NS, 5 * HOUR_NS), min_size=1, max_size=20))
def test_rows_are_cut_by_the_hours_of_their_times_in_their_order(times: list[int]) -> None:
    rows = rows_of("samples", [gauge(at, time, 1.0) for at, time in enumerate(times)])
    parts = rows_by_hour("samples", rows)
    assert [hour for hour, _ in parts] == sorted({hour_name((BEGIN + time) // HOUR_NS) for time in times})
    for hour, part in parts:
        assert part.column("series_id").to_pylist() == [
            at for at, time in enumerate(times) if hour_name((BEGIN + time) // HOUR_NS) == hour]
    assert rows_by_hour("edges", rows) == [("", rows)]


def older_store(path: Path) -> MadeStore:
    """A store whose samples an earlier Flashover wrote with delta-rs: fewer columns, no checksums, other names."""
    store = MadeStore(path)
    narrow = rows_of("samples", [gauge(1, 5, 1.5), gauge(2, 6, 2.5)]).select(["series_id", "ts_ns", "value", "frame"])
    write_deltalake(path / "tables/samples", narrow.append_column(HOUR, pa.array([hour_name(BEGIN // HOUR_NS)] * 2)),
                    partition_by=[HOUR], commit_properties=CommitProperties(app_transactions=[Transaction(JOURNAL, 3)]))
    store.snapshot.seq = 3
    store.start()
    store.publish()
    return store


def test_older_tables_are_read_with_null_columns_and_get_them_when_written(quick_path: Path) -> None:
    store = older_store(quick_path / "s")
    assert store.tables.last_frame("samples") == 3
    sql = "SELECT series_id, value, hist_count, hist_deltas, frame FROM samples ORDER BY frame, series_id"
    old = [{"series_id": at, "value": at + 0.5, "hist_count": None, "hist_deltas": None, "frame": 1} for at in (1, 2)]
    assert store.read(sql) == old and check_store(store.path) == []
    store.put("samples", [gauge(3, 7, None, frame=4, hist_count=2, hist_deltas=[1, 1])])
    new = [{"series_id": 3, "value": None, "hist_count": 2, "hist_deltas": [1, 1], "frame": 4}]
    assert store.read(sql) == old + new
    columns = {field.name for field in DeltaTable(store.path / "tables/samples").schema().fields}
    assert columns == {*SAMPLES.arrow.names, HOUR}
    store.keep_up(all_hours=True)
    assert store.read(sql) == old + new and len(store.tables.live("samples")) == 1
    assert check_store(store.path) == []


def test_delta_rs_reads_what_we_commit_as_we_do(quick_path: Path) -> None:
    """Other engines read the tables as they lie: versions, files, rows, transactions, across checkpoints."""
    store = MadeStore(quick_path / "s")
    for frame in range(1, 2 * CHECKPOINT_EVERY + 4):
        store.put("samples", [gauge(1, frame, float(frame), frame)])
        table = DeltaTable(store.path / "tables/samples")
        assert table.version() == store.tables.versions()["samples"]
        assert table.transaction_version(JOURNAL) == store.tables.last_frame("samples") == frame
    store.keep_up(all_hours=True)
    table = DeltaTable(store.path / "tables/samples")
    assert sorted(table.file_uris()) == store.tables.files("samples")
    assert sorted(table.to_pyarrow_table().column("value").to_pylist()) == [float(at) for at in range(1, frame + 1)]
    again = DeltaTables(store.path, JOURNAL)
    assert all(again.live(name) == store.tables.live(name) for name in TABLES)
    assert again.versions() == store.tables.versions()


def test_a_second_writer_is_found_out(quick_path: Path) -> None:
    store = MadeStore(quick_path / "s")
    store.put("samples", [gauge(1, 1, 1.0)])
    other = DeltaTables(store.path, JOURNAL)
    store.put("samples", [gauge(1, 2, 2.0)])
    with pytest.raises(StoreBusy, match="another process"):
        other.append("samples", rows_of("samples", [gauge(1, 3, 3.0)]), 9)
    assert [row["value"] for row in store.read("SELECT value FROM samples ORDER BY value")] == [1.0, 2.0]


@pytest.mark.parametrize("rest", [b"", b'{"commitInfo"', b"\0\0\0\0"])
def test_an_entry_that_a_power_loss_left_torn_goes_when_no_snapshot_has_it(quick_path: Path, rest: bytes) -> None:
    store = MadeStore(quick_path / "s")
    store.put("samples", [gauge(1, 1, 1.0)])
    log = store.path / "tables/samples/_delta_log"
    (log / f"{2:020d}.json").write_bytes(rest)
    again = DeltaTables(store.path, JOURNAL)
    assert again.versions() == {"samples": 1} and again.last_frame("samples") == 1
    again.append("samples", rows_of("samples", [gauge(1, 2, 2.0)]), 2)
    assert DeltaTable(store.path / "tables/samples").version() == 2


def test_a_predicate_on_time_opens_the_files_of_near_days_alone(quick_path: Path) -> None:
    store = MadeStore(quick_path / "s")
    for day in range(5):
        store.put("samples", [gauge(day, day * 24 * HOUR_NS, float(day))])
    with open_duckdb() as connection:
        create_view(connection, "samples", "samples", store.tables.files("samples"))
        near = f"SELECT series_id FROM samples WHERE ts_ns >= {BEGIN + 4 * 24 * HOUR_NS - 60}"
        plan = str(connection.sql(f"EXPLAIN {near}").fetchall())
        assert plan.count("READ_PARQUET") == 1
        assert connection.sql(near).fetchall() == [(4,)]
        assert connection.sql("SELECT count(*), sum(value) FROM samples").fetchall() == [(5, 10.0)]


def test_duckdb_has_a_name_for_every_type_of_the_contract() -> None:
    with open_duckdb() as connection:
        for table in TABLES.values():
            for column in table.columns:
                found = connection.sql(f"SELECT CAST(NULL AS {sql_type(column.type)}) AS x").to_arrow_table()
                assert found.cast(pa.schema([("x", column.type)])).num_rows == 1
    assert SPANS.arrow.names[0] == "trace_hi"


def test_a_store_copied_while_it_is_written_is_read_at_its_snapshot(quick_path: Path) -> None:
    store = MadeStore(quick_path / "s")
    store.put("samples", [gauge(1, 1, 1.0)])
    store.tables.append("samples", rows_of("samples", [gauge(1, 2, 2.0)]), 2)  # not published
    copy = Path(shutil.copytree(store.path, quick_path / "copy"))
    store.path = copy
    assert store.read("SELECT value FROM samples") == [{"value": 1.0}] and check_store(copy) == []
