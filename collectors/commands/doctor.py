"""``flashover doctor``: what works here, what is missing, and the fix."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from collectors import console
from collectors.health import Health, examine


def show(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Say what works here and what is missing, with the fix, and where each setting's value comes from."""
    health = examine()
    print(json.dumps(health.as_dict(), indent=2) if as_json else as_text(health))


def as_text(health: Health) -> str:
    """``health`` for a terminal: the machine, the packages, the settings, then the fixes."""
    machine = [
        ("python", health.python),
        ("cores", str(health.cores)),
        ("disk", f"{health.disk_free_bytes / 1e9:.1f} GB free in {health.folder}"),
        ("schema", f"version {health.schema_version}"),
        ("GPUs", "; ".join(health.gpus) if health.gpus else f"none seen: {health.gpu_note}"),
    ]
    packages = [(p.name, p.version or "missing", f"for {p.extra}" if p.extra else "") for p in health.packages]
    settings = [(s.setting.name, str(s.value), s.source) for s in health.settings]
    missing = [f"  {p.name}: {p.fix}" for p in health.packages if p.version is None]
    return "\n".join([
        console.columns(machine),
        "\npackages",
        console.columns(packages, indent="  "),
        "\nsettings",
        console.columns(settings, indent="  "),
        "\nmissing" if missing else "\nnothing is missing",
        *missing,
    ])  # fmt: skip


def main(argv: list[str]) -> int:
    """Run the verb."""
    return console.run(show, argv, "doctor")
