"""Demand taken apart, so that "too many users" is tested and not assumed:

    load = users x requests per user x attempts per request x prompt tokens per attempt x share of them computed

Each term is a ratio to healthy time. Only the first two, and the length of prompts, are the users' own; attempts beyond
the first are made by the fleet's failures, and the computed share by its caches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from analysis.scene import Scene


@dataclass(frozen=True, slots=True)
class Terms:
    """Ratios to healthy time; NaN where a term is not measured."""

    users: float
    requests_per_user: float
    attempts_per_request: float
    tokens_per_request: float
    computed_share: float

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
    users, fresh = _growth(scene, "demand.users", first, last), _growth(scene, "demand.fresh", first, last)
    computed, before = (
        1.0 - scene.fleet("replica.hit", *span) for span in ((first, last), (scene.healthy.first, scene.healthy.last))
    )
    return Terms(
        users,
        fresh / users if users > 0 else math.nan,
        _growth(scene, "demand.attempts", first, last),
        _growth(scene, "demand.prompt", first, last),
        computed / before if before > 0 else math.nan,
    )


def _growth(scene: Scene, signal: str, first: int, last: int) -> float:
    before = scene.fleet(signal, scene.healthy.first, scene.healthy.last)
    return scene.fleet(signal, first, last) / before if before > 0 else math.nan
