"""Which cases a benchmark is made of: families x fleets x severities x seeds, each with a name that never changes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from incidents.benchmark.blemishes import BLEMISHES
from incidents.families.fleet import TOPOLOGIES
from incidents.families.registry import FAMILIES, family, topology


@dataclass(frozen=True, slots=True)
class Case:
    """One run of one family. ``blemish``: what its telemetry suffered (see ``blemishes``)."""

    family: str
    topology: str
    severity: float
    seed: int
    decoys: bool
    blemish: str = ""

    @property
    def name(self) -> str:
        """Its name in results."""
        parts = [self.family, self.topology, f"{self.severity:g}", str(self.seed), "decoys" * self.decoys, self.blemish]
        return "/".join(part for part in parts if part)

    @property
    def split(self) -> str:
        """``train``: family and fleet may be tuned on; ``test``: neither; ``between``: one of the two."""
        held_out = family(self.family).held_out, topology(self.topology).split == "test"
        return "test" if all(held_out) else "between" if any(held_out) else "train"

    def as_dict(self) -> dict[str, Any]:
        """For a line of results."""
        return {**asdict(self), "name": self.name, "split": self.split}


def grid(
    families: Sequence[str] = (), topologies: Sequence[str] = (), severities: Sequence[float] = (1.0,), seeds: int = 1
) -> list[Case]:
    """Every combination, in an order in which the first N are a fair sample: seeds and severities outermost. Every other
    case has decoys. Raises BadInput for a name that does not exist."""
    names = [family(name).name for name in families] or list(FAMILIES)
    fleets = [topology(name).name for name in topologies] or list(TOPOLOGIES)
    combined = itertools.product(range(1, seeds + 1), severities, fleets, names)
    return [
        Case(name, fleet, severity, seed, decoys=number % 2 == 1)
        for number, (seed, severity, fleet, name) in enumerate(combined)
    ]


def robustness(count: int = 8) -> list[Case]:
    """The first ``count`` training families, each with every blemish: curves are there to be looked at while tuning."""
    chosen = [one.name for one in FAMILIES.values() if not one.held_out][:count]
    return [replace(case, blemish=blemish) for blemish in BLEMISHES for case in grid(chosen, ("four",))]


def smoke() -> list[Case]:
    """Two for each family: one on a fleet that may be tuned on and one on a held-out one."""
    return grid(topologies=("four", "six"))
