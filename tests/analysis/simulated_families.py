"""Families of simulated incidents: fleets drawn at random, one fault each, and what is true of them.

What is true comes from the simulation alone: users' waits before the fault say what is bad, and a twin whose clients do
not retry from the fault on says whether retries kept the fleet down. Train on seeds below ``TEST_SEEDS``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from simulated_fleet import BLOCK, Fleet, Plan
from simulated_tables import COHORT, GATEWAY, INDEX, Event

TEST_SEEDS = 1000
"""From here on seeds are for tests: nothing is chosen by them."""
DURATION_S = 1150.0
SETTLE_S = 120.0
"""The caches are warm and the router knows them."""
LONG_AFTER_S = 1500.0
"""Whoever is down so long after a fault is kept down."""
REPLICAS = "replica:"
"""Stands for any replica."""
NEED_CACHES = ("slow_index", "rebalance", "cache_cut", "slow_replica")
"""Families whose fault does little to a fleet that can do without its caches."""

Answer = tuple[str, str]
"""Entity (or kind, with its colon) and mechanism."""


@dataclass(frozen=True)
class Case:
    """A plan with a fault from ``since`` to ``until``, the answers that are right, and the change log."""

    family: str
    plan: Plan
    since: float
    until: float
    answers: tuple[Answer, ...]
    events: tuple[Event, ...] = ()


def make_case(family: str, seed: int) -> Case:
    """The case of a family and a seed."""
    source = random.Random(f"{family} {seed}")
    plan = draw_fleet(source, seed, cold=(1.1, 1.45) if family in NEED_CACHES else (0.75, 1.3))
    since = source.uniform(380, 450)
    return FAMILIES[family](source, plan, since, since + source.uniform(100, 250))


def draw_fleet(source: random.Random, seed: int, cold: tuple[float, float]) -> Plan:
    """A healthy fleet. ``cold``: range of its load, over what it can do, had it no caches."""
    replicas, speed, reuse = source.randint(3, 8), source.uniform(11_000, 22_000), source.uniform(0.35, 0.75)
    warm_tokens, cold_tokens = 5_900 - 5_100 * reuse, 6_800  # computed for a request, as the simulation makes them
    load = min(source.uniform(*cold) * warm_tokens / cold_tokens, 0.75)
    rate = load * 0.6 * speed * 4 / warm_tokens
    return Plan(
        seed=seed, replicas=replicas, duration=DURATION_S, speed=speed, rate=rate, reuse=reuse,
        index_rate=source.uniform(4, 7) * rate * replicas / 4 * warm_tokens / BLOCK,
        cache_blocks=source.randrange(10_000, 16_000, 500), retries=source.randint(1, 3), timeout=source.uniform(14, 26),
    )  # fmt: skip


def _none(source: random.Random, plan: Plan, since: float, until: float) -> Case:
    return Case("none", plan, since, until, (), _decoy(source, plan, since))


def _surge(source: random.Random, plan: Plan, since: float, until: float) -> Case:
    changed = replace(plan, surge=(since, until, source.uniform(2.2, 4.0)))
    return Case("surge", changed, since, until, ((COHORT, "external_load"),), _decoy(source, plan, since))


def _longer(source: random.Random, plan: Plan, since: float, until: float) -> Case:
    changed = replace(plan, longer=(since, until, source.uniform(2.2, 4.0)))
    return Case("longer", changed, since, until, ((COHORT, "prompt_mix_shift"),), _decoy(source, plan, since))


def _slow_replica(source: random.Random, plan: Plan, since: float, until: float) -> Case:
    plan = replace(plan, replicas=source.randint(3, 4), affinity=source.randint(40, 200))
    number = source.randrange(plan.replicas)
    changed = replace(plan, slow_replica=(number, since, until, source.uniform(6, 40)))
    answers = ((f"{REPLICAS}{number}", "slow_replica"),)
    return Case("slow_replica", changed, since, until, answers, _decoy(source, plan, since))


def _slow_index(source: random.Random, plan: Plan, since: float, until: float) -> Case:
    until += 120
    changed = replace(plan, slow_index=(since, until, source.uniform(0.0, 0.05)))
    return Case("slow_index", changed, since, until, ((INDEX, "kv_sync_bottleneck"),), _decoy(source, plan, since))


def _rebalance(source: random.Random, plan: Plan, since: float, until: float) -> Case:
    plan = replace(plan, index_rate=plan.index_rate * source.uniform(0.25, 0.4))
    changed = replace(plan, rebalance_at=since)
    log = (since, "rebalance", INDEX, "the map is built anew")
    return Case("rebalance", changed, since, until, ((INDEX, "kv_sync_bottleneck"),), (log,))


def _cache_cut(source: random.Random, plan: Plan, since: float, until: float) -> Case:
    changed = replace(plan, cache_cut=(since, until, source.randrange(100, 500, 50)))
    answers = ((REPLICAS, "kv_eviction_storm"),)
    return Case("cache_cut", changed, since, until, answers, _decoy(source, plan, since))


def _shed(source: random.Random, plan: Plan, since: float, until: float) -> Case:
    changed = replace(plan, shed=(since, until, source.uniform(0.7, 0.95)))
    log = (since, "load_shed", GATEWAY, "admission limit lowered")
    return Case("shed", changed, since, until, ((GATEWAY, "admission_rejection"),), (log,))


def _decoy(source: random.Random, plan: Plan, since: float) -> tuple[Event, ...]:
    """A change of no effect, before or about when the fault begins."""
    entity = source.choice([GATEWAY, INDEX, f"{REPLICAS}{source.randrange(plan.replicas)}"])
    return ((since - source.uniform(0, 200), source.choice(["deploy", "config_change"]), entity, "routine"),)


FAMILIES: dict[str, Callable[[random.Random, Plan, float, float], Case]] = {
    "none": _none, "surge": _surge, "longer": _longer, "slow_replica": _slow_replica, "slow_index": _slow_index,
    "rebalance": _rebalance, "cache_cut": _cache_cut, "shed": _shed,
}  # fmt: skip


Verdict = Literal["incident", "quiet", "between"]


@dataclass(frozen=True)
class Truth:
    """``impact``: whether users felt the fault. ``kept_down``: whether retries kept the fleet down when it was over;
    None where the fault outlasts the simulation or the damage is not clear."""

    impact: Verdict
    share: float
    kept_down: bool | None


def judge(case: Case, fleet: Fleet, *, with_twin: bool = True) -> Truth:
    """What is true of a case that was run. Without the twin ``kept_down`` stays open."""
    users = _requests(fleet)
    healthy = sorted(wait for at, wait in users if SETTLE_S < at < case.since - 30 and wait is not None)
    limit = 5.0 + 2.0 * healthy[int(0.99 * len(healthy))]
    share = max(_bad_share(users, at, at + 60, limit) for at in range(int(SETTLE_S), int(DURATION_S) - 90, 20))
    impact: Verdict = "incident" if share >= 0.2 else "quiet" if share < 0.03 else "between"
    return Truth(impact, share, _kept_down(case, users, limit) if impact == "incident" and with_twin else None)


def _kept_down(case: Case, users: Users, limit: float) -> bool | None:
    """Bad long after the fault, but good at the same time when nobody retries from its begin on. The long run is needed:
    a twin must first work off what had piled up."""
    soon = (case.until + 240, DURATION_S - 60)
    if soon[1] - soon[0] < 90 or case.family == "rebalance":
        return None
    if _bad_share(users, *soon, limit) < 0.1:
        return False
    late = (case.until + LONG_AFTER_S, case.until + LONG_AFTER_S + 120)
    longer = replace(case.plan, duration=late[1] + 60)
    stays = _bad_share(_requests(Fleet(longer).run()), *late, limit)
    twin = _bad_share(_requests(Fleet(replace(longer, patient_from=case.since)).run()), *late, limit)
    return twin < 0.1 if stays >= 0.5 else None


Users = list[tuple[float, float | None]]


def _requests(fleet: Fleet) -> Users:
    """When each request began, and how long it waited for its first token; None for ever."""
    found: dict[int, tuple[float, float | None]] = {}
    for attempt in fleet.attempts:
        begun, wait = found.get(attempt.request, (attempt.arrival, None))
        if wait is None and attempt.first is not None:
            wait = attempt.first - begun
        found[attempt.request] = (begun, wait)
    return list(found.values())


def _bad_share(users: Users, since: float, until: float, limit: float) -> float:
    waits = [wait for at, wait in users if since <= at < until]
    return sum(wait is None or wait > limit for wait in waits) / max(len(waits), 1)
