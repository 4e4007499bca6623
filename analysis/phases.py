"""Where the seconds went: mean seconds per attempt in each phase, in the bad time and before, at the same traffic mix.

Attempts are compared within octaves of prompt length and weighted by the healthy mix, or a shift to longer prompts would
be blamed on the phase that handles them. Phases are disjoint, so the extra seconds add up to the extra wait.
"""

from __future__ import annotations

from analysis import queries
from analysis.investigation import PhaseSeconds
from analysis.scene import Scene
from collectors.schema import PHASES


def phase_seconds(scene: Scene) -> tuple[PhaseSeconds, ...]:
    """Phases that took at least a millisecond on either side, in the order of an attempt's life."""
    before = _strata(scene, scene.healthy.first, scene.healthy.last)
    during = _strata(scene, scene.first, scene.last)
    common = sorted(before.keys() & during.keys())
    total = sum(before[stratum]["attempts"] for stratum in common)
    result = []
    for phase in (name.removesuffix("_ns") for name in PHASES):
        now, then = (
            sum(before[s]["attempts"] / total * side[s][phase] / side[s]["attempts"] for s in common)
            for side in (during, before)
        )  # fmt: skip
        if max(now, then) >= 1e-3:
            result.append(PhaseSeconds(phase, now, then))
    return tuple(result)


def _strata(scene: Scene, first: int, last: int) -> dict[int, dict[str, float]]:
    sql = queries.sql("phase_seconds", start_ns=scene.bins.at(first), end_ns=scene.bins.at(last))
    rows = scene.tables.query(sql).to_pylist()
    return {row["stratum"]: {key: float(value or 0.0) for key, value in row.items()} for row in rows}
