"""A store written row by row, without bodies: what the worker does around each commit, and the upkeep with clocks of a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from collectors.clock import ManualClock
from collectors.live_views import open_duckdb
from collectors.schema import TABLES
from collectors.snapshot import Snapshot, write_identity
from collectors.store import Store
from collectors.tables.delta_tables import DeltaTables
from collectors.tables.hours import HOUR_NS
from collectors.tables.rollups import MINUTE_NS, note_samples
from collectors.tables.upkeep import Upkeep, UpkeepOptions

BEGIN = 1_770_001_200_000_000_000 // HOUR_NS * HOUR_NS
"""The begin of an hour."""

JOURNAL = "00000000-0000-4000-8000-000000000000"
Row = dict[str, Any]


def rows_of(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of a table of the contract; what a row does not say is NULL."""
    return pa.Table.from_pylist([dict(row) for row in rows], TABLES[name].arrow)


def gauge(series: int, at_ns: int, value: float | None, frame: int = 1, **more: Any) -> Row:
    """One sample, ``at_ns`` after BEGIN."""
    return {"series_id": series, "ts_ns": BEGIN + at_ns, "value": value, "frame": frame, **more}


def samples(most: int = 40, hours: int = 3) -> st.SearchStrategy[list[Row]]:
    """Samples of a few series in a few hours, often in one minute, sometimes at one time; whole numbers, so that sums are
    exact in any order."""
    times = st.builds(lambda hour, minute, rest: hour * HOUR_NS + minute * MINUTE_NS + rest, st.integers(0, hours - 1),
                      st.sampled_from([0, 1, 59]), st.sampled_from([0, 1, 30_000_000_000, MINUTE_NS - 1]))
    values = st.one_of(st.integers(-9, 9).map(float), st.sampled_from([float("nan"), float("inf"), -0.0, None]))
    plain = st.builds(gauge, st.integers(1, 3), times, values)
    buckets = st.lists(st.integers(0, 5), min_size=2, max_size=3)
    histogram = st.builds(lambda at, deltas: gauge(-7, at, None, hist_count=sum(deltas), hist_sum=float(sum(deltas)),
                                                   hist_deltas=deltas), times, buckets)
    return st.lists(st.one_of(plain, plain, histogram), max_size=most)


class MadeStore:
    """A new store in a folder. ``elapsed_s``: seconds on the clock that only runs forward, ``clock``: the machine's."""

    def __init__(self, path: Path, options: UpkeepOptions | None = None, now_ns: int = BEGIN) -> None:
        for folder in (path, path / "tables", path / "journal"):
            folder.mkdir(parents=True, exist_ok=True)
        if not (path / "store.json").exists():
            write_identity(path, JOURNAL)
        self.path = path
        self.clock = ManualClock(now_ns)
        self.elapsed_s = 0.0
        self.snapshot = Snapshot(JOURNAL)
        self.options = options or UpkeepOptions()
        self.duckdb = open_duckdb()
        self.start()

    def start(self) -> None:
        """As a worker that starts: tables and upkeep anew."""
        self.tables = DeltaTables(self.path, JOURNAL, self.clock)
        self.upkeep = Upkeep(self.duckdb, self.tables, self.snapshot, self.options, self.clock,
                             lambda: int(self.elapsed_s * 1e9))

    def put(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """One round with rows of one table, published."""
        table = rows_of(name, rows)
        self.snapshot.seq += 1
        self.tables.append(name, table, self.snapshot.seq)
        if name == "samples":
            note_samples(self.snapshot, table, 1 << 62)
        self.publish()

    def publish(self) -> None:
        """As the worker does."""
        self.snapshot.tables = self.tables.versions()
        self.snapshot.publish(self.path)

    def keep_up(self, most: int = 10_000, *, all_hours: bool = False) -> list[str]:
        """Pieces of upkeep, each published; what was done."""
        said = []
        while len(said) < most and (done := self.upkeep.step(all_hours=all_hours)) is not None:
            said.append(done)
            self.publish()
        return said

    def read(self, sql: str) -> list[Row]:
        """What a new reader sees."""
        with Store.open(self.path) as store:
            found: list[Row] = store.query(sql).to_pylist()
        return found
