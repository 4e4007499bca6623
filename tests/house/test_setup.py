"""The set-up behind make: what it says when it cannot go on, and what it skips."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "dirname", "id", "rm", "touch", "sha256sum", "cut")
OLD = '#!/bin/sh\nif [ "$1" = --version ]; then echo Python 3.9.2; exit 0; fi\nexit 1\n'
NO_VENV = """#!/bin/sh
case "$2" in
  *ensurepip*) exit 1 ;;
  *print*) echo 3.12 ;;
esac
exit 0
"""
ORDINARY_USER = "#!/bin/sh\necho 1000\n"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A checkout with nothing but its set-up, and a bin folder with nothing but what the set-up calls."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / ".ci/setup", tmp_path / ".ci/setup")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def set_up(machine: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": str(machine / "bin")}
    bash = str(machine / "bin/bash")
    return subprocess.run([bash, ".ci/setup"], cwd=machine, env=environment, capture_output=True, text=True, check=False)


def test_an_old_python_is_named_with_what_is_needed(machine: Path) -> None:
    program(machine / "bin/python3", OLD)
    done = set_up(machine)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer; python3 is Python 3.9.2" in done.stderr
    assert not (machine / ".venv").exists()


def test_without_rights_the_missing_package_is_named(machine: Path) -> None:
    program(machine / "bin/python3", NO_VENV)
    program(machine / "bin/id", ORDINARY_USER)
    done = set_up(machine)
    assert done.returncode == 1
    assert "install the package python3.12-venv" in done.stderr
    assert not (machine / ".venv").exists()


def test_what_is_installed_is_skipped_until_pyproject_changes(machine: Path) -> None:
    log = machine / "pip.log"
    program(machine / ".venv/bin/python", f'#!/bin/sh\n[ "$2" = pip ] && echo "$@" >> "{log}"\nexit 0\n')
    program(machine / ".venv/bin/flashover", "#!/bin/sh\n")
    first, second = set_up(machine), set_up(machine)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "skipped" in second.stderr
    assert len(log.read_text().splitlines()) == 1
    assert ".[engine,dev]" in log.read_text()
    project = machine / "pyproject.toml"
    project.write_text(project.read_text() + "# changed\n")
    assert set_up(machine).returncode == 0
    assert len(log.read_text().splitlines()) == 2
    stamps = [path.name for path in (machine / ".venv").glob("installed-*")]
    assert stamps == ["installed-" + hashlib.sha256(project.read_bytes()).hexdigest()[:16]]


def test_a_failed_install_leaves_no_stamp(machine: Path) -> None:
    program(machine / ".venv/bin/python", '#!/bin/sh\n[ "$2" = pip ] && exit 1\nexit 0\n')
    program(machine / ".venv/bin/flashover", "#!/bin/sh\n")
    assert set_up(machine).returncode != 0
    assert list((machine / ".venv").glob("installed-*")) == []


def bring_parts(machine: Path) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / ".ci/parts", machine / ".ci/parts")
    environment = {**os.environ, "PATH": str(machine / "bin")}
    bash = str(machine / "bin/bash")
    return subprocess.run([bash, ".ci/parts"], cwd=machine, env=environment, capture_output=True, text=True, check=False)


def test_a_part_that_is_here_is_left_alone(machine: Path) -> None:
    program(machine / "bin/promtool", "#!/bin/sh\n")
    done = bring_parts(machine)
    assert done.returncode == 0
    assert "skipped, promtool is here" in done.stderr


def test_a_part_that_cannot_be_had_is_named_and_is_no_error(machine: Path) -> None:
    done = bring_parts(machine)
    assert done.returncode == 0
    assert "promtool is missing and this machine has no apt; tests that need it are skipped" in done.stderr
