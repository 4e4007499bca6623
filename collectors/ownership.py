"""One owner per journal, and one writer of its tables: advisory locks on files that hold the owner's pid.

The kernel drops a lock when its holder dies, however it dies, so one left by a dead process is simply taken over. The
tables have a lock of their own since a collector's worker outlives a killed receiver for a moment.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from collectors.durable import FULL
from collectors.errors import BadInput, StorageFull, StoreBusy

LOCK_NAME = "owner.lock"
WRITER_NAME = "writer.lock"


class Ownership:
    """Holds one lock of a store from construction to ``release``. Raises StoreBusy naming the pid of the owner, when the
    lock is still held after ``wait_s`` seconds; BadInput, StorageFull when its file cannot be written."""

    def __init__(self, store: Path, name: str = LOCK_NAME, wait_s: float = 0.0) -> None:
        try:
            self._descriptor = os.open(store / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            kind = StorageFull if error.errno in FULL else BadInput
            raise kind(f"{store / name}: cannot be written: {error.strerror}; whoever owns a store must be able to write to "
                       "it") from None
        give_up = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() < give_up:
                    time.sleep(0.02)
                    continue
                pid = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(self._descriptor)
                raise StoreBusy(f"{store}: owned by process {pid}; wait for it to end, or give another folder") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Give the lock back. Calling it twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_owned(store: Path) -> bool:
    """Whether a live process owns the store's journal now. Touches nothing, works on a read-only folder."""
    try:
        descriptor = os.open(store / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
