"""What this machine offers to Flashover: interpreter, packages, GPUs, room on disk, and the settings that hold."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from collectors.errors import BadInput
from collectors.schema import SCHEMA_VERSION
from collectors.settings import Resolved, current

_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?P<bounds>[^;]*)(?:;.*extra == ['\"](?P<extra>[^'\"]+)['\"])?")


@dataclass(frozen=True, slots=True)
class Package:
    """A package that Flashover asks for. ``extra`` is empty for the core; ``version`` is None where it is missing."""

    name: str
    bounds: str
    extra: str
    version: str | None

    @property
    def fix(self) -> str:
        """What to type when the package is missing."""
        return f"pip install -e '.[{self.extra}]'" if self.extra else "pip install -e ."


@dataclass(frozen=True, slots=True)
class Health:
    """What ``flashover doctor`` found. ``gpu_note`` says why ``gpus`` is empty, in one line."""

    python: str
    packages: list[Package]
    gpus: list[str]
    gpu_note: str
    schema_version: int
    folder: str
    disk_free_bytes: int
    cores: int
    settings: list[Resolved]

    def as_dict(self) -> dict[str, Any]:
        """The JSON of ``flashover doctor --json``."""
        return {
            "python": self.python,
            "packages": {
                p.name: {"version": p.version, "asked": p.bounds, "extra": p.extra or None} for p in self.packages
            },
            "gpus": self.gpus,
            "gpu_note": self.gpu_note or None,
            "schema_version": self.schema_version,
            "folder": self.folder,
            "disk_free_bytes": self.disk_free_bytes,
            "cores": self.cores,
            "settings": {r.setting.name: {"value": r.value, "source": r.source} for r in self.settings},
        }


def examine() -> Health:
    """Look at this process, its machine and the current folder. Imports no package beyond NVML's bindings."""
    gpus, gpu_note = find_gpus()
    here = Path.cwd()
    return Health(
        python=platform.python_version(),
        packages=find_packages(_requirements()),
        gpus=gpus,
        gpu_note=gpu_note,
        schema_version=SCHEMA_VERSION,
        folder=str(here),
        disk_free_bytes=shutil.disk_usage(here).free,
        cores=len(os.sched_getaffinity(0)),
        settings=current().resolve_all(),
    )


def find_packages(requirements: Sequence[str]) -> list[Package]:
    """The packages behind ``requirements`` (PEP 508), core first; a developer's tools are left out."""
    found = []
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match is None or match["extra"] == "dev":
            continue
        found.append(Package(match["name"], match["bounds"].strip(), match["extra"] or "", _version(match["name"])))
    return sorted(found, key=lambda package: (package.extra, package.name))


def find_gpus(module: str = "pynvml") -> tuple[list[str], str]:
    """Names of the GPUs that NVML sees, and why there are none. ``module`` has the functions of ``pynvml``."""
    try:
        nvml = import_module(module)
    except ImportError:
        return [], f"the package {module} is missing; pip install -e ."
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return [], f"NVML does not start: {error}"
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        names = [str(nvml.nvmlDeviceGetName(handle)) for handle in handles]
    except nvml.NVMLError as error:
        return [], f"NVML does not list devices: {error}"
    finally:
        nvml.nvmlShutdown()
    return names, "" if names else "NVML sees no device"


def _requirements() -> list[str]:
    try:
        return metadata.requires("flashover") or []
    except metadata.PackageNotFoundError:
        raise BadInput("Flashover is not installed for this Python; in its checkout: make setup") from None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
