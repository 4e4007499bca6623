"""One owner per journal: an advisory lock on a file that holds the owner's pid.

The kernel drops the lock when its holder dies, however it dies, so a lock left by a dead process is simply taken over.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from collectors.errors import StoreBusy

LOCK_NAME = "owner.lock"


class Ownership:
    """Holds the store's owner lock from construction to ``release``. Raises StoreBusy naming the pid of the owner."""

    def __init__(self, store: Path) -> None:
        self._descriptor = os.open(store / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
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
