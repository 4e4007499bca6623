"""Upkeep while a store is written and read: every row stays once through joins, retention, vacuum, kills and odd clocks."""

from __future__ import annotations

import multiprocessing
import random
import signal
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from dying import die_at
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_store import BEGIN, JOURNAL, MadeStore, Row, gauge, rows_of

from collectors.check_store import check_store
from collectors.live_views import open_duckdb
from collectors.recovery import sync_unpublished
from collectors.snapshot import Snapshot, read_snapshot, write_identity
from collectors.store import Store
from collectors.tables.delta_tables import DeltaTables
from collectors.tables.hours import HOUR_NS, hour_name
from collectors.tables.retention import Keep
from collectors.tables.rollups import MINUTE_NS, note_samples
from collectors.tables.upkeep import Upkeep, UpkeepOptions

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["made_store", "collectors.tables.upkeep"])
FRAMES_A_LIFE = 40
ALL = f"SELECT series_id, ts_ns - {BEGIN} AS at, value, frame FROM samples ORDER BY frame, series_id"


def frame_rows(frame: int) -> list[Row]:
    """Two samples of a frame, seven minutes after those of the frame before; every fifth frame is two hours late."""
    at = frame * 7 * MINUTE_NS - (2 * HOUR_NS if frame % 5 == 0 else 0)
    return [gauge(series, at, float(frame), frame) for series in (1, 2)]


def edge_rows(frame: int) -> list[Row]:
    """One relation, seen once in every frame."""
    return [{"src": "a:1", "dst": "b:1", "kind": "calls", "first_seen_ns": frame, "last_seen_ns": frame, "count": 1,
             "frame": frame}]


def live(path: Path, pipe: Connection, dies_at: int) -> None:
    """One life of a worker: a frame in each round, published, then up to two pieces of upkeep with a vacuum that waits for
    nothing. Sends each published frame."""
    pipe.send(0)
    die_at(dies_at)
    for folder in (path, path / "tables", path / "journal"):
        folder.mkdir(parents=True, exist_ok=True)
    write_identity(path, JOURNAL)
    snapshot = read_snapshot(path) or Snapshot(JOURNAL)
    tables = DeltaTables(path, JOURNAL)
    sync_unpublished(tables, snapshot)
    upkeep = Upkeep(open_duckdb(), tables, snapshot, UpkeepOptions(vacuum_after_s=0))
    for frame in range(snapshot.seq + 1, snapshot.seq + 1 + FRAMES_A_LIFE):
        samples = rows_of("samples", frame_rows(frame))
        for name, rows in (("samples", samples), ("edges", rows_of("edges", edge_rows(frame)))):
            if tables.last_frame(name) < frame:
                tables.append(name, rows, frame)
        snapshot.seq = frame
        note_samples(snapshot, samples, 1 << 62)
        for _ in range(3):
            snapshot.tables = tables.versions()
            snapshot.publish(path)
            pipe.send(frame)
            if upkeep.step() is None:
                break
    pipe.send(-1)


def run_life(path: Path, dies_at: int) -> tuple[int, bool]:
    """Last published frame that the life reported, and whether it ended by itself."""
    ours, theirs = FORK.Pipe(duplex=False)
    child = FORK.Process(target=live, args=(path, theirs, dies_at))
    child.start()
    theirs.close()
    published, ended = 0, False
    while True:
        try:
            said = ours.recv()
        except EOFError:
            break
        published, ended = (published, True) if said < 0 else (said, ended)
    child.join()
    assert child.exitcode == (0 if ended else -signal.SIGKILL)
    child.close()
    ours.close()
    return published, ended


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_at_any_file_operation_loses_and_doubles_nothing(quick_path: Path, seed: int) -> None:
    path, chance, killed = quick_path / "store", random.Random(seed), 0
    for _ in range(10):
        published, ended = run_life(path, chance.randint(1, 400))
        killed += not ended
        snapshot = read_snapshot(path)
        if snapshot is None:
            assert published == 0
            continue
        assert snapshot.seq >= published
        assert check_store(path) == []
        with Store.open(path) as store:
            found = store.query(ALL).to_pylist()
            (relation,) = store.query("SELECT count FROM edges").to_pylist()
            minutes = store.query("SELECT sum(n) AS n, sum(\"sum\") AS s FROM rollups").to_pylist()
        every = range(1, snapshot.seq + 1)
        assert found == [{"series_id": row["series_id"], "at": row["ts_ns"] - BEGIN, "value": row["value"], "frame": frame}
                         for frame in every for row in frame_rows(frame)]
        assert relation == {"count": snapshot.seq} and minutes == [{"n": 2 * snapshot.seq, "s": float(2 * sum(every))}]
    assert killed >= 3 and snapshot is not None and snapshot.seq > 50


def fill(store: MadeStore, frames: range) -> None:
    for frame in frames:
        store.put("samples", frame_rows(frame))
        store.put("edges", edge_rows(frame))


def test_files_stay_few_and_sorted_however_many_rounds_there_were(quick_path: Path) -> None:
    store = MadeStore(quick_path / "s", UpkeepOptions(vacuum_after_s=10**6))
    most = 0
    for frame in range(1, 301):
        store.put("samples", [gauge(series, frame * 20_000_000_000, 1.0, frame) for series in (3, 1, 2)])
        store.put("edges", edge_rows(frame))
        store.keep_up()
        most = max(most, len(store.tables.live("samples")), len(store.tables.live("edges")))
    assert most <= 34  # fifteen of each size, in two hours
    assert store.read("SELECT count(*) AS n FROM samples") == [{"n": 900}]
    assert store.read("SELECT count FROM edges") == [{"count": 300}]
    store.keep_up(all_hours=True)
    for file in store.tables.live("samples"):
        held = store.duckdb.sql(f"SELECT series_id, ts_ns FROM '{store.path}/tables/samples/{file.path}'").fetchall()
        assert held == sorted(held) and file.rows == len(held)
        assert file.first_ns == min(at for _, at in held) and file.last_ns == max(at for _, at in held)
    assert len(store.tables.live("samples")) == len(store.tables.hours("samples")) == 2


def test_readers_of_an_older_snapshot_go_on_until_the_vacuum_s_time_is_over(quick_path: Path) -> None:
    store = MadeStore(quick_path / "s", UpkeepOptions(vacuum_after_s=100))
    fill(store, range(1, 40))
    with Store.open(store.path) as early:
        before = early.query(ALL).to_pylist()
        assert any("joined" in said for said in store.keep_up(all_hours=True))
        store.elapsed_s = 99.0
        assert store.keep_up(all_hours=True) == [] and early.query(ALL).to_pylist() == before
        store.elapsed_s = 101.0
        assert any("deleted" in said for said in store.keep_up(all_hours=True))
        assert store.read(ALL) == before
    on_disk = {path for path in (store.path / "tables").rglob("*.parquet") if "_delta_log" not in path.parts}
    assert on_disk == {Path(file) for name in store.tables.versions() for file in store.tables.files(name)}


def test_what_crashed_commits_left_is_deleted_and_nothing_else(quick_path: Path) -> None:
    store = MadeStore(quick_path / "s", UpkeepOptions(vacuum_after_s=0))
    fill(store, range(1, 10))
    hour = f"hour={hour_name(BEGIN // HOUR_NS)}"
    left = [store.path / "tables/samples" / hour / name for name in (".ab.part", f"{'0' * 8}-{'1' * 8}-{'2' * 32}.parquet")]
    for path in left:
        path.write_bytes(b"half")
    store.start()
    store.keep_up()
    assert not any(path.exists() for path in left)
    assert check_store(store.path) == [] and len(store.read(ALL)) == 18


CLOCKS = st.lists(st.tuples(st.integers(-10**19, 10**19), st.floats(0, 5000), st.integers(0, 3)), max_size=5)


@given(CLOCKS, st.integers(0, 3), st.sampled_from([0, 1, 3000]))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_leaps_of_the_clock_never_cost_a_live_file(
    quick_path: Path, leaps: list[tuple[int, float, int]], keep_hours: int, after_s: int
) -> None:
    """The machine's clock says anything, time passes, the worker restarts: what the snapshot names is there."""
    with tempfile.TemporaryDirectory(dir=quick_path) as folder:
        store = MadeStore(Path(folder) / "s", UpkeepOptions(Keep(hours=keep_hours), vacuum_after_s=after_s))
        for turn, (now_ns, passed_s, pieces) in enumerate(leaps):
            store.clock.at_ns = max(0, now_ns)
            store.elapsed_s += passed_s
            for frame in range(4 * turn + 1, 4 * turn + 5):
                store.put("samples", frame_rows(frame))
            if pieces == 0:
                store.start()
            store.keep_up(pieces + 1)
            assert check_store(store.path) == []
        latest = max((frame for frame in range(1, 4 * len(leaps) + 1) if frame % 5), default=0)
        assert [row["value"] for row in store.read(ALL) if row["frame"] == latest] == [float(latest)] * (2 if leaps else 0)


def test_old_log_entries_go_and_the_last_frame_of_each_table_stays_known(quick_path: Path) -> None:
    store = MadeStore(quick_path / "s", UpkeepOptions(vacuum_after_s=5))
    fill(store, range(1, 65))
    store.keep_up(all_hours=True)
    store.elapsed_s = 6.0
    store.keep_up(all_hours=True)
    log = store.path / "tables/samples/_delta_log"
    assert len(list(log.glob("*.json"))) < 40
    again = DeltaTables(store.path, JOURNAL)
    assert again.last_frame("samples") == store.snapshot.seq - 1 and again.last_frame("edges") == store.snapshot.seq
    assert again.versions() == store.tables.versions()
    assert check_store(store.path) == [] and len(store.read(ALL)) == 128


def total(store: MadeStore, name: str) -> int:
    return sum(file.rows for file in store.tables.live(name))


def test_retention_removes_whole_hours_of_all_tables_and_says_what(quick_path: Path) -> None:
    store = MadeStore(quick_path / "s", UpkeepOptions(Keep(hours=2)), now_ns=BEGIN + 100 * HOUR_NS)
    for hour in range(5):
        store.put("samples", [gauge(1, hour * HOUR_NS, 1.0)])
        store.put("events", [{"ts_ns": BEGIN + hour * HOUR_NS, "kind": "note", "frame": 1}])
    before = total(store, "samples") + total(store, "events")
    said = store.keep_up()
    kept = {hour_name(BEGIN // HOUR_NS + at) for at in (3, 4)}
    assert store.tables.hours("samples") == store.tables.hours("events") == kept
    assert store.tables.hours("rollups") <= kept and set(store.snapshot.rolled_hours) <= kept
    assert sum(one.startswith("removed") for one in said) == 3 == store.snapshot.removed["hours"]
    assert store.snapshot.removed["rows"] >= before - total(store, "samples") - total(store, "events") == 6
    assert store.snapshot.removed["bytes"] > 0
    snapshot: Any = read_snapshot(store.path)
    assert snapshot.removed == store.snapshot.removed
    assert store.read("SELECT count(*) AS n FROM samples") == [{"n": 2}]
    assert store.read("SELECT CAST(sum(n) AS BIGINT) AS n FROM rollups") == [{"n": 2}]
