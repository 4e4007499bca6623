"""Demand taken apart, so that "too many users" is tested and not assumed:

    load = users x requests per user x attempts per request x prompt tokens per attempt x share of them computed

Each term is a ratio to healthy time. Only the first two, and the length of prompts, are the users' own; attempts beyond
the first are made by the fleet's failures, and the computed share by its caches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from analysis.scene import Scene
from analysis.signals import Floats


@dataclass(frozen=True, slots=True)
class Terms:
    """Ratios to healthy time; NaN where a term is not measured."""

    users: float
    requests_per_user: float
    attempts_per_request: float
    tokens_per_request: float
    computed_share: float

    @property
    def fresh(self) -> float:
        """First attempts: users times requests per user."""
        return self.users * self.requests_per_user

    def text(self) -> str:
        """One line, terms that are not measured left out."""
        terms = {
            "users": self.users,
            "requests per user": self.requests_per_user,
            "prompt tokens per request": self.tokens_per_request,
            "attempts per request": self.attempts_per_request,
            "computed share of prompts": self.computed_share,
        }
        return ", ".join(f"{name} x{ratio:.2f}" for name, ratio in terms.items() if not math.isnan(ratio))


def take_apart(scene: Scene, first: int, last: int) -> Terms:
    """The terms over the bins ``first <= i < last``."""
    users = _growth(scene, "demand.users", first, last)
    fresh = _growth(scene, "demand.fresh", first, last)
    return Terms(
        users,
        fresh / users if users > 0 else math.nan,
        _growth(scene, "demand.attempts", first, last),
        _growth(scene, "demand.prompt", first, last),
        _computed(scene, first, last) / _computed(scene, scene.healthy.first, scene.healthy.last),
    )


def _total(scene: Scene, signal: str, first: int, last: int, part: str) -> float:
    return sum(float(getattr(series, part)[first:last].sum()) for series in scene.board.get(signal, {}).values())


def _growth(scene: Scene, signal: str, first: int, last: int) -> float:
    """Ratio of the fleet-wide value to healthy time; per-time signals add up over cohorts, means are weighted."""
    values = []
    for a, b in ((first, last), (scene.healthy.first, scene.healthy.last)):
        den = float(max(b - a, 1)) if signal in ("demand.users", "demand.fresh") else _total(scene, signal, a, b, "den")
        values.append(_total(scene, signal, a, b, "num") / den if den > 0 else math.nan)
    return values[0] / values[1] if values[1] > 0 else math.nan


def _computed(scene: Scene, first: int, last: int) -> float:
    asked = _total(scene, "replica.hit", first, last, "den")
    return 1.0 - _total(scene, "replica.hit", first, last, "num") / asked if asked > 0 else math.nan


def fleet_rate(scene: Scene, signal: str) -> Floats:
    """A per-time signal summed over its entities, per bin [bins]; the telemetry may hold none: then zeros."""
    total: Floats = sum(
        (series.values for series in scene.board.get(signal, {}).values()), start=0.0 * scene.finding.requests
    )
    return total
