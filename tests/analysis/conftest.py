"""The simulation's modules are this folder's; its runs are made once for all tests that ask for them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from simulated_runs import Runs


@pytest.fixture(scope="session")
def runs() -> Runs:
    return Runs()
