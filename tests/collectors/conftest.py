"""The bodies that the store's tests share are a module of this folder, also for child processes."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """A new folder in memory where the machine has one: a kill keeps the page cache either way, and syncs cost nothing."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < 64 << 20:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="flashover-") as folder:
        yield Path(folder)
