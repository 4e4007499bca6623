"""Which rank holds which expert, and copies of the hot ones.

``balanced`` is EPLB's greedy method (deepseek-ai/EPLB): redundant places go, one by one, to the expert with most load per copy;
then places are packed heaviest first onto the lightest rank that has room.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

Share = NDArray[np.float64]
"""[layers, experts, ranks]: the part of an expert's tokens that a rank computes; sums to 1 over ranks."""


def plain(layers: int, experts: int, ranks: int, redundant: int) -> Share:
    """Experts in order, the same number on each rank; the redundant places hold copies of the first experts."""
    holders = [slot % experts for slot in range(experts + redundant)]
    share = np.zeros((experts, ranks))
    per_rank = (experts + redundant) // ranks
    for slot, expert in enumerate(holders):
        share[expert, slot // per_rank] += 1.0 / holders.count(expert)
    return np.broadcast_to(share, (layers, experts, ranks)).copy()


def balanced(load: NDArray[np.float64], ranks: int, redundant: int) -> Share:
    """The placement for ``load`` [layers, experts]."""
    return np.stack([_layer(row, ranks, redundant) for row in load])


def _layer(load: NDArray[np.float64], ranks: int, redundant: int) -> NDArray[np.float64]:
    experts = len(load)
    copies = [1] * experts
    for _ in range(redundant):
        hottest = max(range(experts), key=lambda expert: load[expert] / copies[expert])
        copies[hottest] += 1
    places = [(load[expert] / copies[expert], expert) for expert in range(experts) for _ in range(copies[expert])]
    room = (experts + redundant) // ranks
    lightest = [(0.0, rank, 0) for rank in range(ranks)]
    share = np.zeros((experts, ranks))
    for weight, expert in sorted(places, reverse=True):
        carried, rank, held = heapq.heappop(lightest)
        share[expert, rank] += 1.0 / copies[expert]
        if held + 1 < room:
            heapq.heappush(lightest, (carried + weight, rank, held + 1))
    return share


def rank_loads(load: NDArray[np.float64], share: Share) -> NDArray[np.float64]:
    """Tokens per layer and rank: [layers, ranks]."""
    return np.asarray(np.einsum("le,ler->lr", load, share))


def imbalance(by_rank: NDArray[np.float64]) -> float:
    """The slowest rank's load over the mean, layer by layer in lock-step: 1.0 when even, and for no load at all."""
    total = float(by_rank.sum())
    return float(by_rank.max(axis=1).sum()) * by_rank.shape[1] / total if total else 1.0
