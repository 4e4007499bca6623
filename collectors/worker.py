"""From journal to tables: decodes synced frames in rounds and publishes a snapshot after each.

Exactly once. A round decodes every frame after the published snapshot; each table's commit says which frame it reaches.
After a crash between commits the same frames are decoded again, from the state that the snapshot kept, and each table
takes only the rows of frames that it does not have. Journal files go after the snapshot is published.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from collectors import settings
from collectors.decode_metrics import KnownSeries
from collectors.delta_tables import DeltaTables
from collectors.dialects import Dialects
from collectors.edges import SpanMemory
from collectors.journal import Journal
from collectors.live_views import open_duckdb
from collectors.recovery import known_series, recent_spans
from collectors.requests_table import late_hours
from collectors.resources import Emitters
from collectors.rollups import note_samples
from collectors.round import Round
from collectors.series_state import SeriesState
from collectors.sink import Signal
from collectors.snapshot import Snapshot
from collectors.upkeep import Upkeep, UpkeepOptions


class Worker:
    """The only writer of the tables under its journal's uuid."""

    def __init__(self, store: Path, journal: Journal, snapshot: Snapshot, tables: DeltaTables) -> None:
        self.snapshot = snapshot
        self._store = store
        self._journal = journal
        self._tables = tables
        self._emitters = Emitters()
        self._memory = SpanMemory()
        self._duckdb = open_duckdb()
        recent_spans(self._duckdb, store, snapshot, self._memory)
        self._known = KnownSeries(known_series(self._duckdb, tables), Dialects())
        self._state = SeriesState(snapshot.series_state)
        self._upkeep = Upkeep(self._duckdb, tables, snapshot, UpkeepOptions.from_settings(settings.current()))

    def drain(self) -> int:
        """Take in every synced frame not yet in the tables; returns how many rounds it took."""
        rounds = 0
        while self._journal.synced_seq > self.snapshot.seq and self._round():
            rounds += 1
        return rounds

    def keep_up(self) -> None:
        """Do what is due to keep the store small: publishes after each piece."""
        while self._upkeep.step():
            self._publish()

    def finish(self) -> None:
        """The same as if all hours were over, and publish."""
        while self._upkeep.step(all_hours=True):
            self._publish()
        self._publish()

    def close(self) -> None:
        """Let go of the tables' files."""
        self._duckdb.close()

    def _round(self) -> bool:
        edges_in = self._tables.last_frame("edges")
        work = Round(self._emitters, self._memory, self._known, self._state, self.snapshot.ignored_columns, edges_in)
        work.take(self._bodies())
        reached = work.last_frame or self._journal.synced_seq
        tables = work.tables()
        for name, rows in tables.items():
            has = self._tables.last_frame(name)
            if has > self.snapshot.seq:
                rows = rows.filter(pc.greater(rows.column("frame"), has))
            if rows.num_rows:
                self._tables.append(name, rows, max(reached, has))
        if "series" in tables:
            self._known.stored.update(tables["series"].column("series_id").to_pylist())
        self.snapshot.seq = reached
        if "spans" in tables:
            self._note_spans(tables["spans"])
        if "samples" in tables:
            note_samples(self.snapshot, tables["samples"])
        self._publish()
        self._journal.drop_through(self.snapshot.seq)
        return True

    def _bodies(self) -> Iterator[tuple[int, Signal, bytes]]:
        for place, body in self._journal.read(self.snapshot.seq):
            if body is None:
                said = f"journal frame {place.seq} in {place.path.name} went bad after it was synced and was dropped"
                if said not in self.snapshot.damage:
                    self.snapshot.damage.append(said)
            else:
                yield place.seq, place.signal, body

    def _note_spans(self, spans: pa.Table) -> None:
        self.snapshot.watermark_ns = max(self.snapshot.watermark_ns, pc.max(spans.column("start_ns")).as_py(),
                                         pc.max(spans.column("end_ns")).as_py() or 0)
        if self.snapshot.clean_hours:
            late = late_hours(self._duckdb, self._tables, self.snapshot, spans)
            self.snapshot.clean_hours = [hour for hour in self.snapshot.clean_hours if hour not in late]

    def _publish(self) -> None:
        self.snapshot.tables = self._tables.versions()
        self.snapshot.series_state = self._state.save()
        self.snapshot.publish(self._store)
