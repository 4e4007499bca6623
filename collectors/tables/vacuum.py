"""Deleting files that nobody reads any more: replaced and removed ones, what crashed commits left, and old log entries.

A file goes when no snapshot that was published within the last ``after_s`` seconds has it, so that whoever opened the store
before has that long to finish. The seconds are those that this process saw go by on a clock that only runs forward: leaps of
the wall clock neither hasten nor hinder. Files of the published snapshot, and of the tables as they are, never go, whatever
the time. A process that starts anew counts from its start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from collectors.schema import TABLES
from collectors.snapshot import Snapshot
from collectors.tables.delta_tables import CHECKPOINT_EVERY, DeltaTables
from collectors.tables.hours import HOUR
from collectors.tables.live_files import HINT, LOG, read_live_files, table_path

_AT_ONCE = 256
"""Files deleted in one piece of work."""


class Vacuum:
    """Knows which files are dead and since when. ``elapsed_ns``: nanoseconds on a clock that only runs forward."""

    def __init__(self, tables: DeltaTables, snapshot: Snapshot, after_s: int, elapsed_ns: Callable[[], int]) -> None:
        self._tables = tables
        self._snapshot = snapshot
        self._after_ns = after_s * 1_000_000_000
        self._elapsed_ns = elapsed_ns
        self._dead: deque[tuple[int, Path, int]] = deque()
        self._queued: set[Path] = set()
        self._checkpoint: dict[str, int] = {}
        self._bury(self._orphans())

    @property
    def waiting(self) -> int:
        """Files that are dead and not deleted yet."""
        return len(self._dead)

    def step(self) -> tuple[int, int]:
        """Delete some files that are due; returns how many, and their bytes."""
        self._note_retired()
        self._note_log()
        due: list[Path] = []
        size = 0
        while self._dead and len(due) < _AT_ONCE and self._elapsed_ns() - self._dead[0][0] >= self._after_ns:
            _, path, bytes_of_it = self._dead.popleft()
            self._queued.discard(path)
            due.append(path)
            size += bytes_of_it
        if not due:
            return 0, 0
        sums = [path for path in due if self._tables.checksums.knows(path)]
        if sums:
            self._tables.checksums.forget(sums)
        for path in due:
            path.unlink(missing_ok=True)
            if path.parent.name.startswith(f"{HOUR}="):
                _remove_if_empty(path.parent)
        return len(due), size

    def _note_retired(self) -> None:
        """Files that the published snapshot lacks begin to wait."""
        still: list[tuple[str, int, str]] = []
        for name, version, path in self._tables.retired:
            if self._snapshot.tables.get(name, -1) >= version:
                self._bury([table_path(self._tables.store, name) / path])
            else:
                still.append((name, version, path))
        self._tables.retired[:] = still

    def _note_log(self) -> None:
        """Entries and checkpoints of the log that the published version does not need begin to wait."""
        for name, version in self._snapshot.tables.items():
            if self._checkpoint.get(name) == version // CHECKPOINT_EVERY:
                continue
            self._checkpoint[name] = version // CHECKPOINT_EVERY
            files = [path for path in self._tables.log_files(name) if path.name != HINT]
            checkpoints = [int(path.name[:20]) for path in files if ".checkpoint" in path.name]
            needed = max((at for at in checkpoints if at <= version), default=-1)
            self._bury(path for path in files if int(path.name[:20]) < needed)

    def _orphans(self) -> Iterable[Path]:
        """Files in the tables' folders that neither the tables as they are nor the published snapshot have."""
        for name in TABLES:
            folder = table_path(self._tables.store, name)
            if not folder.is_dir():
                continue
            kept = {folder / file.path for file in self._tables.live(name)}
            kept |= {folder / file.path for file in
                     read_live_files(self._tables.store, name, self._snapshot.tables.get(name))}
            for path in folder.rglob("*"):
                is_data = path.name.endswith((".parquet", ".part")) and LOG not in path.parts
                is_torn = path.parent.name == LOG and path.name.startswith((".", "_commit_"))
                if (is_data and path not in kept) or is_torn:
                    yield path

    def _bury(self, paths: Iterable[Path]) -> None:
        now = self._elapsed_ns()
        for path in paths:
            if path not in self._queued:
                try:
                    size = path.stat().st_size
                except FileNotFoundError:
                    continue
                self._dead.append((now, path, size))
                self._queued.add(path)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # not empty: other files of the hour are live
        return
