"""Every family by name, and one case of it: a scenario with its truth, checked as if they had been read from files."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from collectors.errors import BadInput, nearest
from incidents.families import calm, control, creeping, demand, front_door, hardware, kv_sync, mixed, service
from incidents.families.draft import START_S, Draft
from incidents.families.fleet import TOPOLOGIES, Topology
from incidents.truth import Truth, truth_problems
from instrumented_engine.rooms import problems
from instrumented_engine.scenario import Scenario

Builder = Callable[[Topology, float], Draft]
Named = TypeVar("Named")


@dataclass(frozen=True, slots=True)
class Family:
    """``build(fleet, severity)`` drafts it; severity 1 is the canonical one. ``held_out``: no analysis may be tuned on it."""

    name: str
    build: Builder
    held_out: bool

    @property
    def story(self) -> str:
        """What happens, in a sentence."""
        return " ".join((self.build.__doc__ or "").split())


# Nine from metadata_failover on, drawn by lot but for strict_probes, were held out until the first frozen analysis had been
# scored on them once; then the analysis could not be mended without looking, and they became training families. So did the last
# two, once the second one's table of mechanisms had shown what they are taken for.
_TRAIN: tuple[Builder, ...] = (
    kv_sync.kv_sync_rebalance, kv_sync.kv_event_gaps, hardware.retry_storm_after_dip, hardware.throttled_gpu,
    demand.user_spike, demand.context_release, demand.big_release, demand.few_cards,
    control.night_scale_down, service.cold_failover, mixed.busy_but_healthy,
    kv_sync.metadata_failover, kv_sync.spike_meets_rebalance, hardware.straggler_rank, control.probe_restart_loop,
    control.self_redeploying_rollout, service.strict_probes, service.lost_probes, service.chat_store, mixed.scaled_but_healthy,
    hardware.hot_expert, hardware.preemption_thrash,
)  # fmt: skip
_HELD_OUT: tuple[Builder, ...] = (
    kv_sync.kv_transfer, hardware.stop_the_world,
    demand.reasoning_shift, demand.agent_snowball, demand.botnet, control.breaker_backlog, control.control_plane_dns,
    service.free_tier_limit, mixed.double_fault,
    creeping.fading_cards, creeping.flapping_link, creeping.lost_overnight, creeping.slow_morning,
    front_door.narrow_gate, front_door.lost_card_is_not_it, front_door.stale_loads, front_door.deaf_index,
    calm.spare_card, calm.absorbed_wave, calm.rolling_restart,
)  # fmt: skip


def _slug(build: Builder) -> str:
    return build.__name__.replace("_", "-")


FAMILIES: Mapping[str, Family] = {
    _slug(build): Family(_slug(build), build, held_out)
    for held_out, builders in ((False, _TRAIN), (True, _HELD_OUT))
    for build in builders
}


def family(name: str) -> Family:
    """The family called ``name``. Raises BadInput with the nearest name."""
    return _named("family", name, FAMILIES)


def topology(name: str) -> Topology:
    """The fleet called ``name``. Raises BadInput with the nearest name."""
    return _named("topology", name, TOPOLOGIES)


def _named(kind: str, name: str, known: Mapping[str, Named]) -> Named:
    if name not in known:
        raise BadInput(f"no {kind} {name!r}; {nearest(name, sorted(known))}")
    return known[name]


def drafted(name: str, severity: float = 1.0, fleet: str = "four", seed: int = 1, decoys: bool = False) -> Draft:
    """One case of a family. Raises BadInput for a name that does not exist or a severity that is not above 0."""
    if not 0 < severity <= 5:
        raise BadInput(f"severity = {severity:g}: must be above 0 and at most 5")
    draft = family(name).build(topology(fleet), severity)
    draft.scenario["seed"] = seed
    if decoys:
        _distract(draft, random.Random(f"{name}/{seed}"))
    return draft


def checked(draft: Draft) -> tuple[Scenario, Truth]:
    """Scenario and truth of a draft. Raises BadInput with a line for each thing that cannot be."""
    scenario, truth = Scenario.model_validate(draft.tables()), Truth.model_validate(draft.truth)
    if found := [*problems(scenario), *truth_problems(truth, scenario)]:
        raise BadInput("\n".join(f"{scenario.title}: {problem}" for problem in found))
    return scenario, truth


def _distract(draft: Draft, luck: random.Random) -> None:
    """Three entries of a change log that have nothing to do with anything, one of them shortly before it begins."""
    things = [
        ("a certificate", "note", "certificate renewed"),
        ("a dashboard", "deploy", "dashboards 3.4 released"),
        ("a log level", "config_change", "log level of the gateway set to info"),
    ]
    luck.shuffle(things)
    for (what, kind, log), at_s in zip(things, (luck.uniform(30, 200), START_S - luck.uniform(10, 60), 400.0), strict=True):
        draft.decoy(what, draft.call(round(at_s, 1), "note", f"gateway:{luck.choice(draft.gateways)}", kind=kind, log=log))
