"""Outages by capacity and efficiency: a card lost or throttled, an expert too hot, a cache too small."""

from __future__ import annotations

from incidents.families.draft import START_S, Draft
from incidents.families.fleet import Topology


def retry_storm_after_dip(fleet: Topology, severity: float) -> Draft:
    """One replica is away for two minutes."""
    draft = Draft(fleet, "One replica lost for two minutes, and the fleet stays down")
    draft.scenario["hardware"] = {"gpus": 1, "restart_s": 30}
    lost = draft.set(START_S, START_S + 120 * severity, f"gpu:{fleet.replica(0)}.0", "lost", True)
    draft.trigger(f"replica:{fleet.replica(0)}", "replica_loss", START_S, {"actions": [lost]}, {"end": [lost]}, within_s=10)
    return draft.storm((START_S, 540))


def throttled_gpu(fleet: Topology, severity: float) -> Draft:
    """One GPU too hot: its replica steps at a third of its speed, and the router goes on sending it its share."""
    draft = Draft(fleet, "A throttled GPU slows its replica")
    draft.scenario["hardware"] = {"gpus": 1}
    hot = draft.set(START_S, 780, f"gpu:{fleet.replica(1)}.0", "clock", round(max(0.05, 1 - 0.65 * severity), 4))
    draft.trigger(f"replica:{fleet.replica(1)}", "slow_replica", START_S, {"actions": [hot]}, {"end": [hot]}, within_s=30)
    return draft.storm((270, 900), late_s=690)


def straggler_rank(fleet: Topology, severity: float) -> Draft:
    """One rank of an expert-parallel replica slows all ranks of it."""
    draft = Draft(fleet, "A straggler rank holds up its replica")
    draft.scenario["workload"]["compress"] = 1.0
    draft.scenario["experts"] = {"ranks": 4, "redundant": 4}
    slow = draft.set(START_S, 780, f"rank:{fleet.replica(2)}.1", "rank_speed", round(max(0.02, 1 - 0.6 * severity), 4))
    draft.trigger(f"replica:{fleet.replica(2)}", "slow_replica", START_S, {"actions": [slow]}, {"end": [slow]}, within_s=30)
    return draft.storm((270, 900), late_s=690)


def hot_expert(fleet: Topology, severity: float) -> Draft:
    """A crowd that asks for code alone loads a few experts' ranks, and synchronous re-balancing stops replicas to cool them."""
    draft = Draft(fleet, "Hot experts, and a re-balancing that stops the world")
    draft.scenario["experts"] = {"ranks": 8, "rebalance": "off", "interval_s": 60, "rearrange_s": 8.0}
    draft.scenario["cohorts"][0] |= {"share": 3.0}
    draft.scenario["cohorts"].append({
        "name": "coders", "share": 1.0, "content": "code", "ttft_timeout_s": 25, "max_retries": 2, "backoff_initial_s": 0.5,
    })  # fmt: skip
    less = draft.set(START_S, 780, "cohort:chat", "users_factor", 0.5)
    more = draft.set(START_S, 780, "cohort:coders", "users_factor", 1 + 1.5 * severity)
    draft.trigger("cohort:coders", "hot_expert", START_S, {"actions": [less, more]}, {"end": [less, more]}, within_s=60)
    return draft.storm((270, 900), late_s=690)
