"""The store's front door: takes OTLP bodies in process, makes them durable, decodes them when asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from collectors.decode.limits import Limits
from collectors.durable import FULL
from collectors.errors import BadInput, FlashoverError, StorageFull, StoreBusy
from collectors.journal import ROTATE_BYTES, Journal, Write
from collectors.opening import WRITER_ENDS_S, own, recover_journal
from collectors.ownership import WRITER_NAME, Ownership
from collectors.sink import Signal
from collectors.snapshot import read_identity
from collectors.worker import Worker


class Intake:
    """A Sink that fills a telemetry folder. Make one with ``Intake.open``."""

    def __init__(self, path: Path, lock: Ownership, writer: Ownership, journal: Journal, worker: Worker,
                 on_synced: Callable[[int], None] | None) -> None:
        self.path = path
        self._lock = lock
        self._writer = writer
        self._journal = journal
        self._worker = worker
        self._on_synced = on_synced
        self._failed = False
        self._closed = False

    @classmethod
    def open(cls, path: str | Path, on_synced: Callable[[int], None] | None = None, *,
             rotate_bytes: int = ROTATE_BYTES, write: Write = os.write, limits: Limits | None = None) -> Intake:
        """Create the folder, or recover the store in it, and own it until ``close``.

        ``on_synced`` is called with the last durable frame after each sync. What recovery had to drop is written into
        the snapshot (``Store.warnings`` shows it). Raises StoreBusy, StoreUnreadable, BadInput (a folder of something
        else), StorageFull. ``rotate_bytes``: size at which a journal file is ended; ``write``: stands for os.write;
        ``limits``: those of the settings when None.
        """
        store = Path(path)
        lock = own(store)
        try:
            writer = Ownership(store, WRITER_NAME, WRITER_ENDS_S)
        except StoreBusy:
            lock.release()
            raise
        try:
            found = recover_journal(store, rotate_bytes, write)
            worker = Worker(store, found.journal, found.snapshot, found.tables, limits or Limits.from_settings())
        except BaseException:
            writer.release()
            lock.release()
            raise
        return cls(store, lock, writer, found.journal, worker, on_synced)

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
            self._writer.release()
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
