"""Whom it hit: every cohort and every gateway, in the bad time beside healthy time. That chat is out and the API is not says
more than any total."""

from __future__ import annotations

from analysis import queries
from analysis.investigation import Affected
from analysis.scene import Scene


def who_was_hit(scene: Scene) -> tuple[Affected, ...]:
    """The worst hit first."""
    during, before = (_shares(scene, *span) for span in ((scene.first, scene.last), (scene.healthy.first, scene.healthy.last)))
    found = [
        Affected(entity, count, share, before[entity][1] if entity in before else None)
        for entity, (count, share) in during.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.unanswered, one.entity)))


def _shares(scene: Scene, first: int, last: int) -> dict[str, tuple[int, float]]:
    sql = queries.sql("affected", start_ns=scene.bins.at(first), end_ns=scene.bins.at(last))
    return {row["entity"]: (int(row["requests"]), float(row["unanswered"])) for row in scene.tables.query(sql).to_pylist()}
