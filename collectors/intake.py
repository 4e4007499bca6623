"""The store's front door: takes OTLP bodies in process, makes them durable, decodes them when asked."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from collectors.delta_tables import FOLDER as TABLES_FOLDER
from collectors.delta_tables import DeltaTables
from collectors.durable import FULL, sync_all
from collectors.errors import BadInput, FlashoverError, StorageFull
from collectors.frames import Place
from collectors.journal import FOLDER as JOURNAL_FOLDER
from collectors.journal import ROTATE_BYTES, Journal, Write
from collectors.ownership import Ownership
from collectors.recovery import cut_damage, read_journal, sync_unpublished
from collectors.sink import Signal
from collectors.snapshot import Snapshot, read_identity, read_snapshot, write_identity
from collectors.worker import Worker


class Intake:
    """A Sink that fills a telemetry folder. Make one with ``Intake.open``."""

    def __init__(self, path: Path, lock: Ownership, journal: Journal, worker: Worker,
                 on_synced: Callable[[int], None] | None) -> None:
        self.path = path
        self._lock = lock
        self._journal = journal
        self._worker = worker
        self._on_synced = on_synced
        self._failed = False
        self._closed = False

    @classmethod
    def open(cls, path: str | Path, on_synced: Callable[[int], None] | None = None, *,
             rotate_bytes: int = ROTATE_BYTES, write: Write = os.write) -> Intake:
        """Create the folder, or recover the store in it, and own it until ``close``.

        ``on_synced`` is called with the last durable frame after each sync. What recovery had to drop is written into
        the snapshot (``Store.warnings`` shows it). Raises StoreBusy, StoreUnreadable, BadInput (a folder of something
        else), StorageFull. ``rotate_bytes``: size at which a journal file is ended; ``write``: stands for os.write.
        """
        store = Path(path)
        _prepare_folder(store)
        lock = Ownership(store)
        try:
            journal, worker = _recover(store, rotate_bytes, write)
        except BaseException:
            lock.release()
            raise
        return cls(store, lock, journal, worker, on_synced)

    @property
    def synced_seq(self) -> int:
        """The last frame that is durable; 0 before the first."""
        return self._journal.synced_seq

    def put(self, signal: Signal, body: bytes) -> None:
        """Take one Export*ServiceRequest body. Durable after the next ``sync``."""
        self._journal.put(signal, body)

    def sync(self) -> None:
        """Make every body taken so far durable, by one fdatasync. StorageFull: those since the last sync are not kept."""
        self._journal.sync()
        if self._on_synced is not None:
            self._on_synced(self._journal.synced_seq)

    def drain(self) -> None:
        """Decode what is synced into the tables and publish a snapshot; then keep ``requests`` of hours that are over.

        After an error the intake takes no more work but ``close``; opening it anew continues where the tables are.
        """
        self._work(self._worker.drain, self._worker.keep_up)

    def close(self) -> None:
        """Sync, drain, write ``requests`` of all hours, join small files, and give the folder back.

        After a failed drain it only gives the folder back. Calling it twice is harmless.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if not self._failed:
                self.sync()
                self._work(self._worker.drain, self._worker.finish)
        finally:
            self._journal.close()
            self._worker.close()
            if not self._failed:
                self._journal.drop_through(self._worker.snapshot.seq)
            self._lock.release()

    def _work(self, *steps: Callable[[], object]) -> None:
        if self._failed:
            raise FlashoverError(f"{self.path}: decoding failed before; close this intake and open it anew")
        self._failed = True
        try:
            for step in steps:
                step()
        except OSError as error:
            if error.errno in FULL:
                raise StorageFull(f"{self.path}: the disk takes no more bytes; frames up to {self.synced_seq} are safe; "
                                  "free some space and run again") from error
            raise
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def recover(path: str | Path) -> None:
    """Take into the tables what a crash left in the journal of a store. Raises as ``Intake.open``."""
    if read_identity(Path(path)) is None:
        raise BadInput(f"{path}: is no telemetry store; nothing to recover")
    Intake.open(path).close()


def _prepare_folder(store: Path) -> None:
    if store.exists() and not store.is_dir():
        raise BadInput(f"{store}: is a file; give a folder for the store")
    if read_identity(store) is None and store.is_dir() and any(store.iterdir()):
        raise BadInput(f"{store}: holds other files and is no telemetry store; give a new or empty folder")
    try:
        for folder in (store, store / JOURNAL_FOLDER, store / TABLES_FOLDER):
            folder.mkdir(parents=True, exist_ok=True)
        if read_identity(store) is None:
            write_identity(store, str(uuid.uuid4()))
            sync_all([store, store.absolute().parent])
    except OSError as error:
        kind = StorageFull if error.errno in FULL else BadInput
        raise kind(f"{store}: cannot be made a store: {error.strerror}") from error


def _recover(store: Path, rotate_bytes: int, write: Write) -> tuple[Journal, Worker]:
    identity = read_identity(store)
    assert identity is not None
    snapshot = read_snapshot(store) or Snapshot(identity)
    tables = DeltaTables(store, identity)
    sync_unpublished(tables, snapshot)
    found = read_journal(store, uuid.UUID(identity))
    news = [sentence for sentence in found.damage if sentence not in snapshot.damage]
    if news:
        snapshot.damage += news
        snapshot.publish(store)
    cut_damage(found)
    places: list[Place] = [place for place in found.places if place.seq > snapshot.seq]
    next_seq = 1 + max([snapshot.seq, *(place.seq for place in found.places),
                        *(tables.last_frame(name) for name in tables.versions())])
    journal = Journal(store, uuid.UUID(identity), next_seq, places, rotate_bytes=rotate_bytes, write=write)
    return journal, Worker(store, journal, snapshot, tables)
