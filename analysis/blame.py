"""Who slowed whom, and what was wasted: shares of shared steps, and engine time for nobody.

A request that is in a batch waits for the whole step; it is slowed by the others in proportion to their tokens. So each step's
duration is shared out by tokens, and what is not a request's own share is blamed on the cohorts that the rest belongs to. Waste
is engine time after the client had left, of failed attempts, and of what preemption threw away; joules are given where energy
was measured, and by the fleet's joules per second of engine time.
"""

from __future__ import annotations

from analysis import queries
from analysis.investigation import Blame, Waste
from analysis.scene import Scene

WIDEST = 12
"""Pairs that are told at most."""


def who_slowed_whom(scene: Scene) -> tuple[Blame, ...]:
    """Seconds per victim's request in the bad time and in healthy time, the largest growth first."""
    spans = ((scene.first, scene.last), (scene.healthy.first, scene.healthy.last))
    during, before = (_seconds(scene, *span) for span in spans)
    pairs = sorted(during, key=lambda pair: before.get(pair, 0.0) - during[pair])
    return tuple(Blame(*pair, during[pair], before.get(pair, 0.0)) for pair in pairs[:WIDEST])


def _seconds(scene: Scene, first: int, last: int) -> dict[tuple[str, str], float]:
    sql = queries.sql("shared_steps", start_ns=scene.bins.at(first), end_ns=scene.bins.at(last))
    rows = scene.tables.query(sql).to_pylist()
    return {(str(row["victim"]), str(row["culprit"])): float(row["seconds"]) for row in rows}


def wasted_work(scene: Scene) -> Waste | None:
    """Engine seconds of the bad time that served nobody; None where they were not measured."""
    window = {"start_ns": scene.bins.at(scene.first), "end_ns": scene.bins.at(scene.last)}
    row = scene.tables.query(queries.sql("wasted_work", **window)).to_pylist()[0]
    if not row["busy_s"]:
        return None
    energy = row["energy_j"]
    each = energy / row["measured_s"] if energy and row["measured_s"] else None
    busy, abandoned, retried, recomputed = (
        float(row[name] or 0.0) for name in ("busy_s", "abandoned_s", "retried_s", "recomputed_s")
    )
    return Waste(busy, abandoned, retried, recomputed, None if each is None else each * abandoned)
