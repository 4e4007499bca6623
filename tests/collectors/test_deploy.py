"""The service unit and the container file: known to their tools where these are, and true to the code."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import flashover
from collectors import settings

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "collectors/deploy/flashover-collect.service"
CONTAINERFILE = ROOT / "collectors/deploy/Containerfile"
INSTRUCTIONS = set("ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL ONBUILD RUN SHELL STOPSIGNAL USER VOLUME "
                   "WORKDIR".split())
PORTS = {settings.value(name).rpartition(":")[2] for name in ("collect.http", "collect.grpc")}
VARIABLES = {setting.variable for setting in settings.SETTINGS}


@dataclass(frozen=True)
class Instruction:
    """One instruction of a container file, its lines joined."""

    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        """What stands behind the instruction: JSON's list, or words."""
        return list(json.loads(self.rest)) if self.rest.startswith("[") else shlex.split(self.rest)


def instructions() -> list[Instruction]:
    lines = [line for line in CONTAINERFILE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in joined]


def only(word: str) -> Instruction:
    """The last stage's instruction of that name."""
    stages = instructions()
    last = max(at for at, found in enumerate(stages) if found.word == "FROM")
    (found,) = (found for found in stages[last:] if found.word == word)
    return found


def unit() -> dict[str, list[str]]:
    """Key -> values of the unit, whatever the section."""
    values: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            values.setdefault(key, []).append(value)
    return values


def assert_known_command(words: list[str]) -> None:
    """``flashover VERB --flag ...`` with a verb and flags that are there."""
    program, verb, *rest = words
    assert Path(program).name == "flashover"
    assert verb in flashover.VERBS
    source = (ROOT / (flashover.VERBS[verb][0].replace(".", "/") + ".py")).read_text()
    options = {word for word in rest if word.startswith("--")}
    assert "--store" in options
    assert all(f'"{option}"' in source for option in options)


def test_systemd_verifies_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed; it comes with the package systemd")
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text().replace("/opt/flashover/bin/flashover", str(Path(sys.executable).with_name("flashover"))))
    done = subprocess.run(["systemd-analyze", "verify", str(here)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and UNIT.name not in done.stderr, done.stderr
    here.write_text(here.read_text().replace("[Service]", "[Service]\nProtectHarder=yes"))
    done = subprocess.run(["systemd-analyze", "verify", str(here)], capture_output=True, text=True, check=False)
    assert "ProtectHarder" in done.stderr


def test_the_unit_runs_a_verb_with_flags_that_are_there() -> None:
    (start,) = unit()["ExecStart"]
    assert_known_command(shlex.split(start))
    store = Path(shlex.split(start)[-1])
    assert store.parent == Path("/var/lib") / unit()["StateDirectory"][0]


def test_the_unit_gives_away_as_little_as_it_can() -> None:
    values = unit()
    for key, value in {
        "Type": "notify", "KillMode": "mixed", "KillSignal": "SIGTERM", "Restart": "on-failure", "NoNewPrivileges": "true",
        "ProtectSystem": "strict", "ProtectHome": "true", "PrivateTmp": "true", "CapabilityBoundingSet": "",
        "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "SystemCallFilter": "@system-service",
    }.items():
        assert values[key] == [value]
    assert values["User"] == values["Group"] == ["flashover"]
    assert {"MemoryMax", "TimeoutStopSec", "WatchdogSec", "LimitNOFILE"} <= values.keys()


def test_variables_that_the_files_name_are_settings() -> None:
    named = {name for path in (UNIT, CONTAINERFILE) for name in re.findall(r"FLASHOVER_[A-Z_]+", path.read_text())}
    assert named and named <= VARIABLES


def test_every_instruction_is_known_and_the_image_is_made_in_two_stages() -> None:
    found = instructions()
    assert {instruction.word for instruction in found} <= INSTRUCTIONS
    images = [instruction.words[0] for instruction in found if instruction.word == "FROM"]
    assert len(images) == 2 and set(images) == {"python:3.11-slim"}


def test_what_is_copied_is_there_and_is_all_that_the_wheel_needs() -> None:
    copied = set()
    for instruction in instructions():
        if instruction.word == "COPY" and not instruction.rest.startswith("--from"):
            *sources, _ = instruction.words
            copied.update(sources)
    assert all((ROOT / source).exists() for source in copied)
    assert copied >= {"pyproject.toml", "README.md", "LICENSE", *re.findall(r'"([\w.]+)"', wheel_includes())}


def wheel_includes() -> str:
    """What the wheel holds, as pyproject.toml says."""
    (line,) = re.findall(r"^only-include = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    return str(line)


def test_the_container_runs_the_verb_as_nobody_on_the_default_ports() -> None:
    assert_known_command(only("ENTRYPOINT").words + only("CMD").words)
    assert only("USER").rest == "10001:10001"
    (volume,) = only("VOLUME").words
    assert Path(only("CMD").words[-1]).parent == Path(volume)
    assert set(only("EXPOSE").words) == PORTS
    values = dict(word.split("=", 1) for word in only("ENV").words)
    assert {values[f"FLASHOVER_COLLECT_{name}"] for name in ("HTTP", "GRPC")} == {f"0.0.0.0:{port}" for port in PORTS}
    assert only("STOPSIGNAL").rest == "SIGTERM"


def test_the_container_s_health_is_asked_of_a_module_that_is_there() -> None:
    check = only("HEALTHCHECK").rest
    command = json.loads(check[check.index("["):])
    assert command[:2] == ["python", "-m"]
    assert (ROOT / (command[2].replace(".", "/") + ".py")).is_file()


def test_no_secret_is_in_either_file() -> None:
    for path in (UNIT, CONTAINERFILE):
        assert not re.search(r"(?i)(password|secret|token|api_?key)\s*=\s*\S", re.sub(r"(?m)^#.*$", "", path.read_text()))


def test_docker_finds_nothing_wrong() -> None:
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("docker is not installed; the container file was only parsed")
    alive = subprocess.run([docker, "info"], capture_output=True, text=True, check=False, timeout=60)
    if alive.returncode:
        pytest.skip(f"docker cannot build here, the container file was only parsed: {alive.stderr.strip().splitlines()[-1]}")
    done = subprocess.run([docker, "build", "--check", "-f", str(CONTAINERFILE), str(ROOT)], capture_output=True, text=True,
                          check=False, timeout=300)
    if "failed to resolve source metadata" in done.stderr:
        pytest.skip("docker reaches no registry from here; the container file was only parsed")
    assert done.returncode == 0, done.stdout + done.stderr
