"""Keeping a store small and quick to read while it is written: one bounded piece of work at a time, between rounds.

    while said := upkeep.step():      # what was done; after each piece the caller publishes a snapshot
        publish()

Pieces in their order: the attempts of one hour that is over, its minutes, one hour beyond what is kept, one join of small
files, some files that nobody reads any more. A crash at any point leaves what a snapshot names as it is: files are written
and synced before a commit names them, and deleted long after the published snapshot stopped to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import duckdb

from collectors import settings
from collectors.clock import Clock, SystemClock
from collectors.schema import TABLES
from collectors.snapshot import Snapshot
from collectors.tables.compaction import join, worth_joining
from collectors.tables.data_files import DataFile
from collectors.tables.delta_tables import DeltaTables
from collectors.tables.hours import HOUR_NS, hour_number
from collectors.tables.requests_table import WATERMARK_NS, hours_to_materialise, materialise_hour
from collectors.tables.retention import Keep, hours_to_remove, remove_hour, sizes_of
from collectors.tables.rollups import hours_to_roll, roll_hour
from collectors.tables.vacuum import Vacuum


@dataclass(frozen=True, slots=True)
class UpkeepOptions:
    """``keep``: how much telemetry. ``vacuum_after_s``: seconds that a reader may take."""

    keep: Keep = field(default_factory=Keep)
    vacuum_after_s: int = 3600

    @classmethod
    def from_settings(cls, now: settings.Settings) -> UpkeepOptions:
        """As set."""
        return cls(Keep(now.value("store.keep_hours"), now.value("store.keep_bytes")), now.value("store.vacuum_after_s"))


class Upkeep:
    """Works on the tables of their one writer. ``clock``: what the machine's clock says; ``elapsed_ns``: nanoseconds on a
    clock that only runs forward."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, tables: DeltaTables, snapshot: Snapshot,
                 options: UpkeepOptions, clock: Clock | None = None,
                 elapsed_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._connection = connection
        self._tables = tables
        self._snapshot = snapshot
        self._options = options
        self._clock = clock or SystemClock()
        self._vacuum = Vacuum(tables, snapshot, options.vacuum_after_s, elapsed_ns)
        self._seen: dict[tuple[str, str], int] = {}

    def step(self, *, all_hours: bool = False) -> str | None:
        """Do one piece of work; returns what was done, None when nothing is due. ``all_hours``: as if all hours were over."""
        return (self._materialise(all_hours) or self._roll(all_hours) or self._remove() or self._join(all_hours)
                or self._delete())

    def _materialise(self, all_hours: bool) -> str | None:
        for hour in hours_to_materialise(self._tables, self._snapshot, all_hours=all_hours)[:1]:
            materialise_hour(self._connection, self._tables, self._snapshot, hour)
            return f"wrote the attempts of {hour}"
        return None

    def _roll(self, all_hours: bool) -> str | None:
        for hour in hours_to_roll(self._tables, self._snapshot, all_hours=all_hours)[:1]:
            roll_hour(self._connection, self._tables, self._snapshot, hour)
            return f"wrote the minutes of {hour}"
        return None

    def _remove(self) -> str | None:
        keep = self._options.keep
        if not keep.hours and not keep.size:
            return None
        for hour in hours_to_remove(*sizes_of(self._tables), self._clock.now_ns(), keep)[:1]:
            remove_hour(self._tables, self._snapshot, hour)
            return f"removed {hour}"
        return None

    def _join(self, all_hours: bool) -> str | None:
        for name, hour, files in self._hours_that_changed(all_hours):
            chosen = worth_joining(name, files, over=all_hours or self._is_over(hour))
            if chosen:
                rows = join(self._connection, self._tables, name, chosen).rows
                return f"joined {len(chosen)} files of {name}{' of ' * bool(hour)}{hour}, {rows} rows"
            self._seen[name, hour] = self._mark(hour, files, all_hours)
        return None

    def _delete(self) -> str | None:
        count, size = self._vacuum.step()
        return f"deleted {count} files, {size} bytes" if count else None

    def _hours_that_changed(self, all_hours: bool) -> Iterator[tuple[str, str, list[DataFile]]]:
        """Tables and hours whose files are not as they were when joining them was last found not worth it."""
        for name in TABLES:
            hours: dict[str, list[DataFile]] = {}
            for file in self._tables.live(name):
                hours.setdefault(file.hour, []).append(file)
            for hour, files in sorted(hours.items()):
                if self._seen.get((name, hour)) != self._mark(hour, files, all_hours):
                    yield name, hour, files

    def _mark(self, hour: str, files: list[DataFile], all_hours: bool) -> int:
        return hash((all_hours or self._is_over(hour), *(file.path for file in files)))

    def _is_over(self, hour: str) -> bool:
        latest = max(self._snapshot.watermark_ns, self._snapshot.sample_watermark_ns)
        return bool(hour) and (hour_number(hour) + 1) * HOUR_NS + WATERMARK_NS <= latest
