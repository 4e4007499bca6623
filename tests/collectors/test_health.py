"""What the doctor sees, with and without packages and GPUs."""

from __future__ import annotations

import sys
from importlib import metadata
from types import ModuleType

import pytest

from collectors import health
from collectors.commands.doctor import as_text
from collectors.errors import BadInput


class NvmlFault(Exception):
    """As ``pynvml.NVMLError``."""


class Machine(ModuleType):
    """NVML of a machine with the GPUs ``names``; ``fault`` is the function that fails."""

    NVMLError = NvmlFault

    def __init__(self, names: list[str], fault: str = "") -> None:
        super().__init__("machine_nvml")
        self.names = names
        self.fault = fault
        self.started = 0

    def _reach(self, function: str) -> None:
        if function == self.fault:
            raise NvmlFault(f"{function} failed")

    def nvmlInit(self) -> None:
        self._reach("nvmlInit")
        self.started += 1

    def nvmlShutdown(self) -> None:
        self.started -= 1

    def nvmlDeviceGetCount(self) -> int:
        self._reach("nvmlDeviceGetCount")
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return self.names[handle]


SEEN = [
    (Machine(["H20", "H20"]), ["H20", "H20"], ""),
    (Machine([]), [], "NVML sees no device"),
    (Machine(["H20"], "nvmlInit"), [], "NVML does not start: nvmlInit failed"),
    (Machine(["H20"], "nvmlDeviceGetCount"), [], "NVML does not list devices: nvmlDeviceGetCount failed"),
]


@pytest.mark.parametrize(("machine", "names", "note"), SEEN, ids=["two", "none", "no driver", "no list"])
def test_gpus_or_one_line_why_none(
    machine: Machine, names: list[str], note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "machine_nvml", machine)
    assert health.find_gpus("machine_nvml") == (names, note)
    assert machine.started == 0


def test_without_bindings_the_fix_is_named() -> None:
    assert health.find_gpus("no_such_nvml") == ([], "the package no_such_nvml is missing; pip install -e .")


def test_packages_with_their_extra_and_without_tools() -> None:
    asked = [
        "zstandard>=0.23",
        'torch<2.14,>=2.13; extra == "engine"',
        "ruff>=0.13; extra == 'dev'",
        "no-such-package>=1",
        "typer",
    ]
    found = health.find_packages(asked)
    assert [(p.name, p.bounds, p.extra) for p in found] == [
        ("no-such-package", ">=1", ""),
        ("typer", "", ""),
        ("zstandard", ">=0.23", ""),
        ("torch", "<2.14,>=2.13", "engine"),
    ]
    assert found[0].version is None
    assert found[2].version == metadata.version("zstandard")
    assert found[3].fix == "pip install -e '.[engine]'"


def test_the_text_names_every_setting_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHOVER_DEMO_SEED", "77")
    monkeypatch.setattr(health.metadata, "requires", lambda name: ["no-such-package>=1"])
    text = as_text(health.examine())
    assert ["demo.seed", "77", "$FLASHOVER_DEMO_SEED"] in [line.split() for line in text.splitlines()]
    assert "no-such-package: pip install -e ." in text
    assert "nothing is missing" not in text


def test_an_uninstalled_checkout_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(health.metadata, "requires", absent)
    with pytest.raises(BadInput, match="make setup"):
        health.examine()
