"""What a wheel holds: the rooms, the command and every data file, and nothing beside them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("collectors", "instrumented_engine", "analysis", "incidents", "dashboards")
DATA = (".toml", ".sql", ".zst", ".npz", ".json", ".md")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_top_level_names(wheel: zipfile.ZipFile) -> None:
    names = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {*ROOMS, "flashover.py"}


def test_every_module_and_every_data_file_is_inside(wheel: zipfile.ZipFile) -> None:
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in (".py", *DATA)]
    wanted = {str(path.relative_to(ROOT)) for path in files}
    assert {".toml", ".sql", ".zst"} <= {Path(name).suffix for name in wanted}
    assert wanted <= set(wheel.namelist())


def test_licences_and_notice_travel_along(wheel: zipfile.ZipFile) -> None:
    licences = {name.split("/licenses/")[1] for name in wheel.namelist() if "/licenses/" in name}
    traces = ("MOONCAKE_LICENSE", "AZURE_LICENSE", "NOTICE.txt")
    assert licences == {"LICENSE", *(f"incidents/workloads/{name}" for name in traces)}


def test_the_public_index_would_refuse_it(wheel: zipfile.ZipFile) -> None:
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert "Classifier: Private :: Do Not Upload" in wheel.read(metadata).decode()


def test_the_command_is_declared(wheel: zipfile.ZipFile) -> None:
    (scripts,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    assert "flashover = flashover:main" in wheel.read(scripts).decode()
