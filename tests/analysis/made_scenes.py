"""Scenes made by hand: every signal of a small fleet at a steady level, but for the steps that a test asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from simulated_tables import COHORT, GATEWAY, INDEX, ROUTER, MemoryTables

from analysis.board import Bins, Series
from analysis.impact import Finding
from analysis.investigation import Impact
from analysis.onsets import Healthy
from analysis.scene import Change, Scene
from analysis.signal_catalogue import SIGNALS

S = 1_000_000_000
BINS = Bins(10_000 * S, 10_000 * S + 240 * 5 * S, 5 * S)
FIRST, LAST = 120, 200
REPLICAS = ("replica:0", "replica:1", "replica:2", "replica:3")
ENTITIES = (COHORT, GATEWAY, INDEX, ROUTER, *REPLICAS)
RELATIONS = frozenset({(GATEWAY, ROUTER), (ROUTER, INDEX), *((ROUTER, one) for one in REPLICAS)})

Step = tuple[float, int]
"""Effect in material units (negative: down), and the bin where it begins."""


@cache
def empty_tables() -> MemoryTables:
    """Evidence from these has no values."""
    return MemoryTables({})


def made_scene(
    steps: Mapping[tuple[str, str], Step], changes: Sequence[Change] = (), *, without: Sequence[str] = (),
    relations: frozenset[tuple[str, str]] = RELATIONS,
) -> Scene:  # fmt: skip
    """A scene whose signal (name, entity) makes a step; signals ``without`` are not measured."""
    board: dict[str, dict[str, Series]] = {}
    for name, signal in SIGNALS.items():
        if name in without:
            continue
        board[name] = {
            entity: _series(name, entity, steps.get((name, entity)))
            for entity in ENTITIES if entity.startswith(f"{signal.kind}:")
        }  # fmt: skip
        if not board[name]:
            del board[name]
    requests, good = np.full(BINS.count, 20.0), np.full(BINS.count, 20.0)
    good[FIRST:LAST] = 0.0
    finding = Finding(Impact("", None, None, 0.0), requests, good, ((FIRST, LAST),))
    healthy = Healthy(0, 90, 1.0, 90, before=True)
    return Scene(empty_tables(), BINS, board, None, healthy, finding, FIRST, LAST, ENTITIES, relations, tuple(changes))


def _series(name: str, entity: str, step: Step | None) -> Series:
    signal, units = SIGNALS[name], np.zeros(BINS.count)
    if step is not None:
        units[step[1] :] = step[0]
    level = 2.0
    values = level * signal.material**units if signal.scale == "ratio" else level + signal.material * units
    return Series(entity, signal, values * 10.0, np.full(BINS.count, 10.0))


def at(index: int, kind: str, entity: str) -> Change:
    """A change in the middle of a bin."""
    return Change(BINS.at(index) + BINS.width_ns // 2, kind, entity, "")
