"""Making files stay: fsync of files and folders, and replacing a file in one step.

A rename is durable only when the folder is synced too (POSIX says nothing else).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The errno values that mean: the disk takes no more bytes."""


def sync_path(path: Path) -> None:
    """fsync one file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(paths: Iterable[Path]) -> None:
    """fsync each path once."""
    for path in dict.fromkeys(paths):
        sync_path(path)


def replace_file(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``: a reader sees the old or the new file, whole, and the new one survives power loss."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_path(path.parent)
