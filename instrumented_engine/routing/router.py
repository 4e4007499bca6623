"""Cache-aware routing: the replica said to hold the longest prefix, unless the fleet is out of balance.

The policy is SGLang's router: beyond an absolute and a relative imbalance of requests in flight the least loaded replica
is taken; else the longest known prefix if it covers ``min_match_share`` of the prompt; else the least loaded one. What
is in flight is what the router sees: a request whose client left no longer counts, though its replica may still work on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from instrumented_engine.kv.kv_index import KvIndex
from instrumented_engine.scenario import Router as Policy


@dataclass(frozen=True, slots=True)
class Decision:
    """Where an attempt goes, why, and how many prefix blocks it is expected to hit there."""

    replica: int
    reason: Literal["prefix", "load"]
    predicted_blocks: int


class Router:
    """Decides by ``index`` and by its own count of what is in flight."""

    def __init__(self, policy: Policy, index: KvIndex, replicas: int) -> None:
        self.policy = policy
        self.decisions = {"prefix": 0, "load": 0}
        self.predicted_blocks = 0
        self.in_flight = [0] * replicas
        self._index = index

    def choose(self, keys: Sequence[int], candidates: Sequence[int]) -> Decision | None:
        """Choose among ``candidates`` (the replicas that still queue) for a prompt whose whole blocks are ``keys`` and
        count it as in flight there; None when there is no candidate."""
        if not candidates:
            return None
        lengths = self._index.prefix_lengths(keys)
        loads = self.in_flight
        least = min(candidates, key=lambda replica: loads[replica])
        most = max(loads[replica] for replica in candidates)
        unbalanced = most - loads[least] > self.policy.balance_abs and most > self.policy.balance_rel * loads[least]
        longest = max(lengths[replica] for replica in candidates)
        if unbalanced or longest <= self.policy.min_match_share * len(keys):
            chosen = Decision(least, "load", lengths[least])
        else:
            holders = [replica for replica in candidates if lengths[replica] == longest]
            chosen = Decision(min(holders, key=lambda replica: loads[replica]), "prefix", longest)
        self.in_flight[chosen.replica] += 1
        self.decisions[chosen.reason] += 1
        self.predicted_blocks += chosen.predicted_blocks
        return chosen

    def done(self, replica: int) -> None:
        """An attempt on ``replica`` ended, or its client left."""
        self.in_flight[replica] -= 1
