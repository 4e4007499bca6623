"""Keeping a store by hand while no collector runs: joining its files, and deleting those that nobody reads any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from collectors.clock import Clock, SystemClock
from collectors.decode.limits import Limits
from collectors.errors import BadInput
from collectors.opening import WRITER_ENDS_S, own, recover_journal
from collectors.ownership import WRITER_NAME, Ownership
from collectors.snapshot import SNAPSHOT_NAME, Snapshot, read_identity, read_snapshot
from collectors.store_stats import StoreStats, disk_bytes, store_stats
from collectors.tables.delta_tables import DeltaTables
from collectors.tables.vacuum import Vacuum
from collectors.worker import Worker


@dataclass(frozen=True, slots=True)
class Compacted:
    """Live files and their bytes, before and after."""

    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int

    def to_json(self) -> dict[str, int]:
        """The figures by key."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """Files deleted, bytes won, and the seconds until what is left may go (0: nothing is left)."""

    files: int
    bytes_won: int
    wait_s: int

    def to_json(self) -> dict[str, int]:
        """The figures by key."""
        return asdict(self)


def compact_store(store: Path, on_piece: Callable[[str], None] = lambda said: None) -> Compacted:
    """Take in what the journal holds, then do all upkeep as if every hour were over: write attempts and minutes, remove what
    is not to be kept, join small files. ``on_piece`` is told each piece. Raises StoreBusy, StoreUnreadable, BadInput."""
    before = store_stats(store) if read_identity(store) is not None else None
    with _owned(store):
        found = recover_journal(store)
        worker = Worker(store, found.journal, found.snapshot, found.tables, Limits.from_settings(),
                        on_work=lambda doing, frame: on_piece(doing))
        try:
            worker.drain()
            worker.finish()
            found.journal.drop_through(worker.snapshot.seq)
        finally:
            worker.close()
            found.journal.close()
    after = store_stats(store)
    return Compacted(_files(before), _files(after), _bytes(before), _bytes(after))


def vacuum_store(store: Path, after_s: int, clock: Clock | None = None,
                 on_piece: Callable[[str], None] = lambda said: None) -> Vacuumed:
    """Delete the files of the tables' folders that no snapshot has, once the published one has been it for ``after_s`` seconds
    of the machine's clock: whoever opened an earlier one has had that long. Raises as ``compact_store``."""
    with _owned(store):
        identity = read_identity(store)
        assert identity is not None
        snapshot = read_snapshot(store) or Snapshot(identity)
        before = disk_bytes(store)
        age_s = _age_s(store, clock or SystemClock())
        vacuum = Vacuum(DeltaTables(store, identity), snapshot, 0 if age_s >= after_s else after_s, lambda: 0)
        files = 0
        while (done := vacuum.step())[0]:
            files += done[0]
            on_piece(f"deleted {files} files")
        left = vacuum.waiting
    return Vacuumed(files, before - disk_bytes(store), max(0, after_s - age_s) if left else 0)


@contextmanager
def _owned(store: Path) -> Iterator[None]:
    if read_identity(store) is None:
        raise BadInput(f"{store}: is no telemetry store; give a folder that a replay or an intake made")
    lock = own(store)
    try:
        writer = Ownership(store, WRITER_NAME, WRITER_ENDS_S)
        try:
            yield
        finally:
            writer.release()
    finally:
        lock.release()


def _age_s(store: Path, clock: Clock) -> int:
    path = store / SNAPSHOT_NAME
    published_ns = path.stat().st_mtime_ns if path.exists() else 0
    return max(0, clock.now_ns() - published_ns) // 1_000_000_000


def _files(stats: StoreStats | None) -> int:
    return sum(table.files for table in stats.tables) if stats else 0


def _bytes(stats: StoreStats | None) -> int:
    return sum(table.size for table in stats.tables) if stats else 0
