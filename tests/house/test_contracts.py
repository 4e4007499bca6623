"""Lint, types, and who may import whom; and that the contracts would notice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("collectors", "instrumented_engine", "analysis", "incidents", "dashboards")
BIN = Path(sys.executable).parent


def outcome(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_lint() -> None:
    done = outcome(BIN / "ruff", "check", "--output-format=concise", ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_types() -> None:
    done = outcome(BIN / "mypy")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rooms_keep_their_contracts() -> None:
    done = outcome(BIN / "lint-imports", "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


VIOLATIONS = [
    ("collectors", "import analysis", "Rooms import only rooms on lower floors"),
    ("instrumented_engine", "import analysis", "Rooms import only rooms on lower floors"),
    ("incidents", "import dashboards", "Rooms import only rooms on lower floors"),
    ("analysis", "import incidents", "Analysis sees telemetry alone"),
    ("analysis", "import instrumented_engine", "Analysis sees telemetry alone"),
    ("collectors", "import torch", "Collecting and investigating need no torch"),
    ("dashboards", "import incidents.x", "Collecting and investigating need no torch"),
    ("incidents", "import torch", "Only the engine names torch"),
    ("analysis", "import streamlit", "Only dashboards name streamlit"),
]


@pytest.fixture(scope="module")
def bare_rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The five rooms, empty but for an engine that uses torch and an incident that uses the engine."""
    folder = tmp_path_factory.mktemp("rooms")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for room in ROOMS:
        (folder / room).mkdir()
        (folder / room / "__init__.py").write_text("")
    (folder / "instrumented_engine/model.py").write_text("import torch\n")
    (folder / "incidents/x.py").write_text("import instrumented_engine.model\n")
    return folder


def test_what_is_allowed_passes(bare_rooms: Path) -> None:
    done = outcome(BIN / "lint-imports", "--no-cache", cwd=bare_rooms)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("room", "line", "contract"), VIOLATIONS, ids=[f"{v[0]}: {v[1]}" for v in VIOLATIONS])
def test_a_forbidden_import_is_noticed(bare_rooms: Path, room: str, line: str, contract: str) -> None:
    offender = bare_rooms / room / "offender.py"
    offender.write_text(line + "\n")
    try:
        done = outcome(BIN / "lint-imports", "--no-cache", cwd=bare_rooms)
    finally:
        offender.unlink()
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [text for text in done.stdout.splitlines() if text.endswith("BROKEN")]
    assert any(text.startswith(contract) for text in broken), done.stdout
