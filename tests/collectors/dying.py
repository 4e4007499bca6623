"""A process that dies just before one of its file operations: the points that a clock seldom hits."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def die_at(count: int) -> None:
    """SIGKILL this process before its ``count``-th sync, rename or removal of a file."""
    left = [count]

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def counting(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)
        return counting

    for name in ("fsync", "fdatasync", "replace", "rename", "ftruncate", "truncate", "unlink", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
