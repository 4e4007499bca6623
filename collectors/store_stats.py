"""What a store holds, from its log alone: rows, bytes, files and hours of each table, its time range, what waits or is gone."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from collectors.clock import iso
from collectors.errors import StoreUnreadable
from collectors.merged_views import live_tables, size_of
from collectors.recovery import read_journal
from collectors.snapshot import Snapshot, read_identity, read_snapshot
from collectors.tables.live_files import FOLDER


@dataclass(frozen=True, slots=True)
class TableStats:
    """``rows`` and ``size`` (bytes) of the live files, how many they are, and the hours that they cover (0: has none)."""

    name: str
    rows: int
    size: int
    files: int
    hours: int


@dataclass(frozen=True, slots=True)
class StoreStats:
    """``first_ns``, ``last_ns``: least and greatest time of a row (UTC); None without rows. ``journal_frames``: frames that
    are not decoded. ``disk_bytes``: all files of the tables, those that wait to be deleted too. ``drops``: reason -> times.
    ``removed``: what retention took away: hours, rows, bytes."""

    tables: list[TableStats]
    first_ns: int | None
    last_ns: int | None
    journal_frames: int
    journal_bytes: int
    disk_bytes: int
    drops: dict[str, int]
    removed: dict[str, int]

    def to_json(self) -> dict[str, object]:
        """The figures by key."""
        return asdict(self)

    def lines(self) -> list[tuple[str, ...]]:
        """The figures for people, as rows of cells."""
        rows: list[tuple[str, ...]] = [("table", "rows", "bytes", "files", "hours")]
        rows += [(table.name, str(table.rows), str(table.size), str(table.files), str(table.hours)) for table in self.tables]
        return rows

    def sentences(self) -> list[str]:
        """The rest of the figures for people."""
        said = []
        if self.first_ns is not None and self.last_ns is not None:
            said.append(f"from {iso(self.first_ns)} to {iso(self.last_ns)}")
        said.append(f"journal: {self.journal_frames} frames to decode, {self.journal_bytes} bytes")
        said.append(f"on disk: {self.disk_bytes} bytes of tables, replaced files included")
        said += [f"left out by limits: {times} times {reason}" for reason, times in sorted(self.drops.items())]
        if self.removed:
            said.append("removed by retention: " + ", ".join(f"{count} {what}" for what, count in self.removed.items()))
        return said


def store_stats(store: Path) -> StoreStats:
    """Raises StoreUnreadable as ``Store.open`` does for what is no telemetry folder or lacks a file."""
    identity = read_identity(store)
    if identity is None:
        raise StoreUnreadable(f"{store}: is no telemetry folder; stats, compact and vacuum take one that an intake made")
    snapshot = read_snapshot(store) or Snapshot(identity)
    live = live_tables(store, snapshot)
    every = [file for files in live.values() for file in files]
    places = [place for place in read_journal(store, uuid.UUID(identity)).places if place.seq > snapshot.seq]
    return StoreStats(
        [TableStats(name, sum(file.rows for file in files), sum(file.size for file in files), len(files),
                    len({file.hour for file in files if file.hour})) for name, files in live.items()],
        min((file.first_ns for file in every if file.first_ns is not None), default=None),
        max((file.last_ns for file in every if file.last_ns is not None), default=None),
        len(places), sum(place.size for place in places), disk_bytes(store), dict(snapshot.drops), dict(snapshot.removed))


def disk_bytes(store: Path) -> int:
    """Bytes of all files below the tables' folder."""
    return sum(size_of(path) or 0 for path in (store / FOLDER).rglob("*") if not path.is_dir())
