"""Which replica an attempt goes to, as one router decides by what it knows.

``prefix`` is SGLang's policy: beyond an absolute and a relative imbalance of requests in flight the least loaded replica
is taken; else the longest known prefix if it covers ``min_match_share`` of the prompt; else the least loaded one. What
is in flight is what the router sees: a request whose client left no longer counts, though its replica may still work on it.

A router sees a prompt's block keys and its session, never how long the answer will be.
"""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from instrumented_engine.clock import VirtualLoop
from instrumented_engine.kv.hash_ring import HashRing
from instrumented_engine.mechanism import Measure
from instrumented_engine.routing.own_map import OwnMap
from instrumented_engine.scenario import Router as Policy

Reason = Literal["prefix", "load", "two", "session", "ring", "random"]
REASONS: dict[str, tuple[Reason, ...]] = {
    "prefix": ("prefix", "load"), "least_load": ("load",), "power_of_two": ("two",), "session": ("session",),
    "hash_ring": ("ring",), "random": ("random",),
}


class PrefixMap(Protocol):
    """Who is said to hold what."""

    def prefix_lengths(self, keys: Sequence[int]) -> list[int]:
        """Per replica, how many leading ``keys`` it is said to hold."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Where an attempt goes, who decided so and why, and how many prefix blocks it is expected to hit there. ``load`` is what
    the router believed to be in flight on the chosen replica, ``candidates`` how many it could choose from."""

    replica: int
    reason: Reason
    predicted_blocks: int
    router: str
    load: int
    candidates: int


class Router:
    """Decides by ``index`` and by its own count of what is in flight. The attributes ``policy`` to ``load_age_ms`` are
    switches. ``hit_blocks`` counts what its attempts had hit when they
    ended; ``hits`` is what is measured (with one router, what the replicas count, which is earlier)."""

    def __init__(
        self, entity: str, policy: Policy, index: PrefixMap, replicas: int, loop: VirtualLoop, luck: random.Random
    ) -> None:
        self.entity = entity
        self.policy: str = policy.policy
        self.replica_sync = policy.replica_sync
        self.sync_interval_s = policy.sync_interval_s
        self.load_age_ms = policy.load_age_ms
        self.decisions: dict[str, int] = dict.fromkeys(REASONS[policy.policy], 0)
        self.predicted_blocks = self.hit_blocks = 0
        self.in_flight = [0] * replicas
        self.others = [0] * replicas
        self.ring = HashRing(replicas, policy.virtual_nodes, 0)
        self.hits: Callable[[], int] = lambda: self.hit_blocks
        self._limits = policy
        self._own = OwnMap(replicas, policy.own_map_blocks) if policy.prefix_map == "own" else None
        self._index: PrefixMap = self._own or index
        self._loop = loop
        self._luck = luck
        self._seen: list[int] = self.in_flight
        self._seen_ns = -(1 << 62)

    def remap(self) -> None:
        """Lay the hash ring anew, as an update of the load balancer's map does."""
        self.ring.remap()

    def loads(self) -> Sequence[int]:
        """What the router believes to be in flight per replica."""
        if not self.load_age_ms and not any(self.others):
            return self.in_flight
        now_ns = self._loop.now_ns
        if now_ns - self._seen_ns >= self.load_age_ms * 1e6:
            self._seen = [own + other for own, other in zip(self.in_flight, self.others, strict=True)]
            self._seen_ns = now_ns
        return self._seen

    def choose(self, keys: Sequence[int], candidates: Sequence[int], session: str = "") -> Decision | None:
        """Choose among ``candidates`` (the replicas that still queue) for a prompt whose whole blocks are ``keys`` and
        count it as in flight there; None when there is no candidate."""
        if not candidates:
            return None
        loads = self.loads()
        lengths = self._index.prefix_lengths(keys)
        replica, reason = self._pick(keys, candidates, session, loads, lengths)
        chosen = Decision(replica, reason, lengths[replica], self.entity, loads[replica], len(candidates))
        self.in_flight[replica] += 1
        self.decisions[reason] = self.decisions.get(reason, 0) + 1
        self.predicted_blocks += chosen.predicted_blocks
        if self._own is not None:
            self._own.learn(keys, replica)
        return chosen

    def _pick(
        self, keys: Sequence[int], candidates: Sequence[int], session: str, loads: Sequence[int], lengths: Sequence[int]
    ) -> tuple[int, Reason]:
        match self.policy:
            case "prefix":
                return self._by_prefix(keys, candidates, loads, lengths)
            case "least_load":
                return min(candidates, key=loads.__getitem__), "load"
            case "power_of_two":
                two = [candidates[int(self._luck.random() * len(candidates))] for _ in range(2)]
                return min(two, key=loads.__getitem__), "two"
            case "session":
                draw = int.from_bytes(hashlib.blake2b(session.encode(), digest_size=8).digest())
                return candidates[draw % len(candidates)], "session"
            case "hash_ring":
                return self.ring.owner(keys[0] if keys else zlib.crc32(session.encode()), candidates), "ring"
            case _:
                return candidates[int(self._luck.random() * len(candidates))], "random"

    def _by_prefix(
        self, keys: Sequence[int], candidates: Sequence[int], loads: Sequence[int], lengths: Sequence[int]
    ) -> tuple[int, Reason]:
        least = min(candidates, key=loads.__getitem__)
        most = max(loads[replica] for replica in candidates)
        unbalanced = most - loads[least] > self._limits.balance_abs and most > self._limits.balance_rel * loads[least]
        longest = max(lengths[replica] for replica in candidates)
        if unbalanced or longest <= self._limits.min_match_share * len(keys):
            return least, "load"
        holders = [replica for replica in candidates if lengths[replica] == longest]
        return min(holders, key=loads.__getitem__), "prefix"

    def done(self, replica: int, hit_blocks: int) -> None:
        """An attempt on ``replica`` ended, or its client left; it had hit so many blocks."""
        self.in_flight[replica] -= 1
        self.hit_blocks += hit_blocks

    def measures(self) -> Iterable[Measure]:
        """Decisions by reason, what was predicted to hit and what did, and what it believes to be in flight."""
        for reason, count in self.decisions.items():
            yield Measure("flashover:router_decisions", count, counter=True, labels=(("reason", reason),))
        yield Measure("flashover:router_predicted_blocks", self.predicted_blocks, "blocks", counter=True)
        yield Measure("flashover:router_hit_blocks", self.hits(), "blocks", counter=True)
        if self.ring.remaps:
            yield Measure("flashover:router_ring_remaps", self.ring.remaps, counter=True)
