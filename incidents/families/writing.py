"""A drafted incident as a folder: ``scenario.toml``, ``truth.toml``, ``README.md``, all of them or none."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import tomli_w

from collectors.errors import BadInput
from incidents.families.draft import Draft
from incidents.families.registry import checked
from instrumented_engine.scenario import Scenario

_TRUTH = "# What really happened, for scoring alone. Nothing outside incidents/ may read this.\n\n"


def write_incident(folder: Path, draft: Draft, story: str, origin: str) -> None:
    """Write ``draft`` into the new ``folder``. ``origin``: how it was made. Raises BadInput when the folder holds something,
    or for a draft that cannot be."""
    checked(draft)
    title = draft.scenario["title"]
    _write(folder, {
        "scenario.toml": _scenario(draft.tables(), story, origin),
        "truth.toml": _TRUTH + tomli_w.dumps(draft.truth),
        "README.md": f"# {title}\n\n{story}\n\n{_roles(draft)}\n{_REAL}\n{origin}\n",
    })  # fmt: skip


def write_scenario(folder: Path, scenario: Scenario, story: str, origin: str) -> None:
    """Write ``scenario``, of which nobody knows the truth, into the new ``folder``. Raises BadInput as above."""
    tables = scenario.model_dump(mode="json", exclude_unset=True)
    _write(folder, {"scenario.toml": _scenario(tables, story, origin)})


def _scenario(tables: dict[str, Any], story: str, origin: str) -> str:
    return f"# {story}\n# {origin}\n\n{tomli_w.dumps(tables)}"


def _write(folder: Path, files: dict[str, str]) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(f"{folder}: is not empty; give a new folder")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, text in files.items():
        (partial / name).write_text(text)
    if folder.exists():
        folder.rmdir()
    partial.rename(folder)


_REAL = """**Which parts are real.** The arrivals and their prefix sharing are the Mooncake conversation trace's, the retries
the OpenAI SDK's defaults, and engines that work on for clients who have left are what many fleets run. The fleet, its
rates and what happens to it are our own: a demonstration of a mechanism, not a reconstruction of a provider's outage.
The labels are proven by `flashover verify`.
"""


def _roles(draft: Draft) -> str:
    truth = draft.truth
    lines = []
    if "initiator" in truth:
        lines.append(f"- initiator: {truth['initiator']['kind']} on `{truth['initiator']['entity']}`")
    lines += [f"- trigger: `{one['mechanism']}` on `{one['entity']}`" for one in truth.get("triggers", [])]
    lines += [f"- amplifier: `{one['mechanism']}`" for one in truth.get("amplifiers", [])]
    lines += [f"- sustainer: `{one['mechanism']}`" for one in truth.get("sustainers", [])]
    lines += [f"- saved {' and '.join(one['cohorts'])}: {one['what']}" for one in truth.get("mitigations", [])]
    lines += [f"- had no part in it: {one['what']}" for one in truth.get("decoys", [])]
    return "\n".join(lines) + "\n"
