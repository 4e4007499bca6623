"""From journal to tables: decodes synced frames in rounds and publishes a snapshot after each.

Exactly once. A round decodes every frame after the published snapshot; each table's commit says which frame it reaches.
After a crash between commits the same frames are decoded again, from the state that the snapshot kept, and each table
takes only the rows of frames that it does not have. Journal files go after the snapshot is published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from collectors import settings
from collectors.clock import Clock, SystemClock
from collectors.decode.decode_metrics import KnownSeries
from collectors.decode.edges import SpanMemory
from collectors.decode.limits import Drops, Limits
from collectors.decode.resources import Emitters
from collectors.decode.round import Round
from collectors.decode.series_state import SeriesState
from collectors.dialects import Dialects
from collectors.frames import Place
from collectors.live_views import open_duckdb
from collectors.recovery import known_series, recent_spans
from collectors.sink import Signal
from collectors.snapshot import Snapshot
from collectors.state_file import StateFile, read_state
from collectors.tables.delta_tables import DeltaTables
from collectors.tables.hours import AHEAD_NS, latest_of
from collectors.tables.requests_table import late_hours
from collectors.tables.rollups import note_samples
from collectors.tables.upkeep import Upkeep, UpkeepOptions

_ROUNDS_A_PIECE = 8
"""A worker that lags behind does one piece of upkeep in so many rounds: files must not pile up for ever."""


class Frames(Protocol):
    """Where a worker gets synced frames from: the journal itself, or what its process tells."""

    @property
    def synced_seq(self) -> int:
        """The last frame that is durable."""

    def read(self, after_seq: int) -> Iterator[tuple[Place, bytes | None]]:
        """Synced frames numbered above ``after_seq``, in order, with their plain bodies; None for one that went bad."""

    def drop_through(self, seq: int) -> None:
        """Frames up to ``seq`` are in the tables, and the snapshot says so."""


class Worker:
    """The only writer of the tables under its journal's uuid.

    ``rows`` (by table), ``rejects`` (by signal) and ``drops`` (by reason) count what this worker appended, refused and left
    out. ``on_work`` is told what it begins to do, and the last frame when it decodes. ``skip``: a frame that killed
    workers before; it is rejected unread. ``small_rounds``: at most so many frames a round, up to which frame.
    """

    def __init__(self, store: Path, journal: Frames, snapshot: Snapshot, tables: DeltaTables, limits: Limits, *,
                 skip: int = 0, small_rounds: tuple[int, int] = (0, 0),
                 on_work: Callable[[str, int], None] = lambda doing, frame: None, clock: Clock | None = None) -> None:
        self.snapshot = snapshot
        self._clock = clock or SystemClock()
        self.rows: Counter[str] = Counter()
        self.rejects: Counter[str] = Counter()
        self._drops_before = Drops(snapshot.drops)
        self._skip = skip
        self._small_rounds = small_rounds
        self._on_work = on_work
        self._store = store
        self._journal = journal
        self._tables = tables
        self._limits, self._drops = limits, Drops(snapshot.drops)
        self._emitters = Emitters(self._limits)
        self._memory = SpanMemory()
        self._duckdb = open_duckdb()
        self._duckdb.execute("SET enable_external_file_cache = false")  # a worker reads its files once
        recent_spans(self._duckdb, store, snapshot, self._memory)
        self._known = KnownSeries(known_series(self._duckdb, tables), Dialects())
        self._state = SeriesState(snapshot.series_state or read_state(store, snapshot.series_file))
        self._state_file = StateFile(store, snapshot.series_file)
        self._upkeep = Upkeep(self._duckdb, tables, snapshot, UpkeepOptions.from_settings(settings.current()))

    @property
    def drops(self) -> dict[str, int]:
        """What was left out since this worker began, by reason."""
        return dict(Drops(self.snapshot.drops) - self._drops_before)

    def drain(self) -> int:
        """Take in the frames that are synced now and not yet in the tables; returns how many rounds it took."""
        rounds, until = 0, self._journal.synced_seq
        while until > self.snapshot.seq:
            self._round()
            rounds += 1
            if rounds % _ROUNDS_A_PIECE == 0 and self._upkeep.step() is not None:
                self._publish()
        return rounds

    def keep_up(self) -> None:
        """Do what is due to keep the store small, piece by piece, until frames wait; publishes after each."""
        while (done := self._upkeep.step()) is not None:
            self._on_work(done, 0)
            self._publish()
            if self._journal.synced_seq > self.snapshot.seq:
                return

    def finish(self) -> None:
        """All of it, as if all hours were over, and publish."""
        while (done := self._upkeep.step(all_hours=True)) is not None:
            self._on_work(done, 0)
            self._publish()
        self._publish()

    def close(self) -> None:
        """Let go of the tables' files."""
        self._duckdb.close()

    def _round(self) -> None:
        most, until = self._small_rounds
        edges_in = self._tables.last_frame("edges")
        work = Round(self._emitters, self._memory, self._known, self._state, self.snapshot.ignored_columns, edges_in,
                     self._limits, self._drops)
        work.take(islice(self._bodies(work), most if self.snapshot.seq < until else None))
        reached = work.last_frame or self._journal.synced_seq
        self._on_work("decoding", reached)
        tables = work.tables()
        for name, rows in tables.items():
            has = self._tables.last_frame(name)
            if has > self.snapshot.seq and name != "series":  # of these a round has none that the table has
                rows = rows.filter(pc.greater(rows.column("frame"), has))
            if rows.num_rows:
                self._tables.append(name, rows, max(reached, has))
                self.rows[name] += rows.num_rows
                if name == "rejects":
                    self.rejects.update(rows.column("signal").to_pylist())
        if "series" in tables:
            self._known.stored.update(tables["series"].column("series_id").to_pylist())
        self.snapshot.seq = reached
        if "spans" in tables:
            self._note_spans(tables["spans"])
        if "samples" in tables:
            note_samples(self.snapshot, tables["samples"], self._clock.now_ns() + AHEAD_NS)
        self._publish()
        self._journal.drop_through(self.snapshot.seq)
        self._on_work("decoded", 0)

    def _bodies(self, work: Round) -> Iterator[tuple[int, Signal, bytes]]:
        for place, body in self._journal.read(self.snapshot.seq):
            if place.seq == self._skip:
                work.refuse(place.seq, place.signal, "decoding it ended the worker", body or b"")
            elif body is None:
                said = f"journal frame {place.seq} in {place.path.name} went bad after it was synced and was dropped"
                if said not in self.snapshot.damage:
                    self.snapshot.damage.append(said)
            else:
                yield place.seq, place.signal, body

    def _note_spans(self, spans: pa.Table) -> None:
        for times in (spans.column("start_ns"), spans.column("end_ns")):
            self.snapshot.watermark_ns = latest_of(times, self._clock.now_ns() + AHEAD_NS, self.snapshot.watermark_ns)
        if self.snapshot.clean_hours:
            late = late_hours(self._duckdb, self._tables, self.snapshot, spans)
            self.snapshot.clean_hours = [hour for hour in self.snapshot.clean_hours if hour not in late]

    def _publish(self) -> None:
        self.snapshot.tables = self._tables.versions()
        self.snapshot.series_file = self._state_file.save(self._state)
        if self.snapshot.series_file:
            self.snapshot.series_state = {}
        self.snapshot.drops = dict(self._drops)
        self.snapshot.publish(self._store)
