"""Outages that come slowly, and one whose cause is there long before anybody feels it: cards, links, mornings."""

from __future__ import annotations

from typing import Any

from incidents.families.draft import START_S, Draft
from incidents.families.fleet import Topology
from incidents.families.kv_sync import apart, decoders

_FIRST_S = START_S + 2
"""When it begins: between two scrapes, so that none falls into the moment between two of ``_steps``."""
_MOMENT_S = 0.001
_FLAP_S = 30.0
"""From one loss of a link to the next."""


def fading_cards(fleet: Topology, severity: float) -> Draft:
    """A rack's cooling gives out: its cards' clocks fall bit by bit, and the router goes on sending them their share."""
    draft = Draft(fleet, "Cards that get slower every minute")
    draft.scenario["hardware"] = {"gpus": 1}
    clocks = [round(max(0.05, 1 - severity * down), 4) for down in (0.08, 0.18, 0.3, 0.44, 0.6, 0.75)]
    for number in range(fleet.replicas - fleet.replicas // 3, fleet.replicas):  # a third of the fleet, or less
        name = fleet.replica(number)
        hot = _steps(draft, f"gpu:{name}.0", "clock", clocks, every_s=40, until_s=820)
        draft.trigger(f"replica:{name}", "slow_replica", _FIRST_S, {"actions": hot}, {"end": hot}, within_s=150)
    return draft.storm((330, 900), late_s=790)


def flapping_link(fleet: Topology, severity: float) -> Draft:
    """Prefill and decode apart: the links of all decode replicas but one are lost for a moment, then for longer and longer."""
    draft = apart(fleet, "Links that flap, every time for longer", bandwidth_gbps=40.0)
    links = [f"link:{name}-nic" for name in decoders(fleet)[1:]]
    downs = [
        draft.set(at_s, round(at_s + min(_FLAP_S - 1, 3.5 * severity * (number + 1)), 3), link, "up", False)
        for number, at_s in enumerate(_FIRST_S + _FLAP_S * i for i in range(18)) for link in links
    ]
    draft.trigger(links[0], "link_failure", _FIRST_S, {"actions": downs}, {"end": downs}, within_s=10)
    draft.impact((300, 780), (750, 1050))
    draft.proof(760, 1400)
    return draft


def lost_overnight(fleet: Topology, severity: float) -> Draft:
    """A host goes at night, when nobody needs it; minutes later the morning comes, as every morning."""
    draft = Draft(fleet, "A host that went at night is missed in the morning")
    on_it = max(1, round(0.25 * severity * fleet.replicas))
    on_it = max(count for count in range(1, on_it + 1) if fleet.replicas % count == 0)  # hosts are all alike
    draft.scenario["hardware"] = {"replicas_per_host": on_it, "gpus": 1, "restart_s": 60}
    draft.set(0, _FIRST_S + 240 - _MOMENT_S, "cohort:chat", "users_factor", 0.5)
    _steps(draft, "cohort:chat", "users_factor", [0.6, 0.7, 0.8, 0.9], every_s=45, first_s=_FIRST_S + 240, until_s=662)
    lost = draft.set(150, 900, "host:h0", "up", False)
    draft.trigger("host:h0", "host_loss", 150, {"actions": [lost]}, {"end": [lost]}, within_s=10)
    return draft.storm((600, 960), late_s=850, shed_s=960)


def slow_morning(fleet: Topology, severity: float) -> Draft:
    """More users come than on any morning before, a few more every minute."""
    draft = Draft(fleet, "A morning that goes on growing")
    draft.scenario["workload"]["compress"] = 0.9
    more = [round(1 + severity * up, 4) for up in (0.06, 0.12, 0.18, 0.25, 0.32, 0.4, 0.48, 0.55)]
    users = _steps(draft, "cohort:chat", "users_factor", more, every_s=45, until_s=840)
    draft.trigger("cohort:chat", "external_load", _FIRST_S, {"actions": users}, {"end": users}, within_s=120)
    return draft.storm((330, 900), late_s=750)


def _steps(
    draft: Draft, target: str, key: str, values: list[Any], *, every_s: float, until_s: float, first_s: float = _FIRST_S
) -> list[int]:
    """Set ``key`` to one value after the other; the last one holds until ``until_s``. The numbers of the actions."""
    times = [first_s + every_s * number for number in range(len(values))]
    ends = [*(at_s - _MOMENT_S for at_s in times[1:]), until_s]
    return [
        draft.set(at_s, round(end_s, 3), target, key, value) for at_s, end_s, value in zip(times, ends, values, strict=True)
    ]
