"""The incident library: what lies in ``incidents/library``, and where a scenario is found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from collectors.errors import BadInput, nearest
from instrumented_engine.loading import load_scenario
from instrumented_engine.scenario import Scenario

LIBRARY = Path(__file__).parent / "library"


@dataclass(frozen=True, slots=True)
class Incident:
    """One entry: its slug, its folder, and its scenario as shipped."""

    slug: str
    folder: Path
    scenario: Scenario


def incidents() -> list[Incident]:
    """Every incident of the library, by slug."""
    folders = sorted(path.parent for path in LIBRARY.glob("*/scenario.toml"))
    return [Incident(folder.name, folder, load_scenario(folder / "scenario.toml")) for folder in folders]


def scenario_path(name: str) -> Path:
    """The scenario file that ``name`` means: a slug of the library, or a path. BadInput with the nearest slug."""
    if name.endswith(".toml") or "/" in name:
        return Path(name)
    path = LIBRARY / name / "scenario.toml"
    if path.exists():
        return path
    slugs = sorted(folder.parent.name for folder in LIBRARY.glob("*/scenario.toml"))
    raise BadInput(f"no incident {name!r} in the library; {nearest(name, slugs)}")
