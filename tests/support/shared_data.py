"""Public data that lies beside some checkouts and not in the project."""

from __future__ import annotations

from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[3] / "shared/data"


def shared(name: str) -> Path:
    """The folder or file ``name`` beside this checkout; the test is skipped, with the reason, where it is absent."""
    if not (_BESIDE / name).exists():
        pytest.skip(f"public data is not here: ../shared/data/{name}")
    return _BESIDE / name
