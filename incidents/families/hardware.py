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
    """One GPU too hot: its replica steps at a quarter of its speed, and the router goes on sending it its share."""
    draft = Draft(fleet, "A throttled GPU slows its replica")
    draft.scenario["hardware"] = {"gpus": 1}
    hot = draft.set(START_S, 780, f"gpu:{fleet.replica(1)}.0", "clock", round(max(0.05, 1 - 0.75 * severity), 4))
    draft.trigger(f"replica:{fleet.replica(1)}", "slow_replica", START_S, {"actions": [hot]}, {"end": [hot]}, within_s=30)
    return draft.storm((270, 900), late_s=690)


def straggler_rank(fleet: Topology, severity: float) -> Draft:
    """One rank of an expert-parallel replica slows all ranks of it."""
    draft = Draft(fleet, "A straggler rank holds up its replica")
    draft.scenario["workload"]["compress"] = 1.0
    draft.scenario["experts"] = {"ranks": 4, "redundant": 4}
    slow = draft.set(START_S, 780, f"rank:{fleet.replica(2)}.1", "rank_speed", round(max(0.02, 1 - 0.65 * severity), 4))
    draft.trigger(f"replica:{fleet.replica(2)}", "slow_replica", START_S, {"actions": [slow]}, {"end": [slow]}, within_s=30)
    return draft.storm((270, 900), late_s=690, shed_s=810)


def hot_expert(fleet: Topology, severity: float) -> Draft:
    """As many people as ever, but now most ask for code: a few experts' ranks get most of the work, and every step waits."""
    draft = Draft(fleet, "Hot experts, for most people ask for code")
    draft.scenario["experts"] = {"ranks": 16, "moe_share": 0.9, "rebalance": "off"}
    draft.scenario["workload"]["compress"] = 0.75  # room for as many new people, whose prefixes nobody holds
    draft.scenario["cohorts"][0] |= {"share": 3.0}
    draft.scenario["cohorts"].append({
        "name": "coders", "share": 1.0, "content": "code", "ttft_timeout_s": 25, "max_retries": 2, "backoff_initial_s": 0.5,
    })  # fmt: skip
    less = draft.set(START_S, 480, "cohort:chat", "users_factor", round(max(0.05, 1 - 0.85 * severity), 4))  # as many in all
    more = draft.set(START_S, 480, "cohort:coders", "users_factor", 1 + 2.55 * severity)
    one_rank = {"set": {"experts.ranks": 1}}  # as many ask for code, and nobody waits for anybody
    draft.trigger("cohort:coders", "hot_expert", START_S, one_rank, {"end": [less, more]}, within_s=60)
    return draft.storm((270, 900), late_s=450, shed_s=780)


def stop_the_world(fleet: Topology, severity: float) -> Draft:
    """Re-balancing of experts is switched on, synchronously and too often: engines stand still while experts move."""
    draft = Draft(fleet, "Synchronous re-balancing of experts stops the engines every minute")
    draft.scenario["experts"] = {"ranks": 8, "rebalance": "off", "interval_s": 60, "rearrange_s": round(10.0 * severity, 2)}
    on = [
        draft.set(START_S, 780, f"experts:{fleet.replica(i)}", "expert_rebalance", "sync", kind="config_change",
                  log="expert load balancing switched on" if i == 0 else "",
                  log_until="expert load balancing switched off" if i == 0 else "")
        for i in range(fleet.replicas)
    ]  # fmt: skip
    draft.initiator("config_change", f"replica:{fleet.replica(0)}", START_S, *on)
    draft.trigger(f"replica:{fleet.replica(0)}", "expert_rebalance_stall", START_S, {"actions": on}, {"end": on}, within_s=90,
                  also=draft.other_replicas)  # fmt: skip
    return draft.storm((270, 900), late_s=690, shed_s=810)


def preemption_thrash(fleet: Topology, severity: float) -> Draft:
    """Longer answers no longer fit: requests are let in by their prompts alone, thrown out half-way, and computed again."""
    draft = Draft(fleet, "Longer answers thrash a KV pool that lets in by prompts alone")
    draft.scenario["workload"]["compress"] = 0.75
    draft.scenario["replica"] |= {"kv_blocks": 6400 // fleet.replicas}  # what chat at its usual length fills by half
    release = draft.set(
        START_S, 780, "cohort:chat", "output_factor", 1 + 2.3 * severity, kind="deploy",
        log="chat app: deep thinking is on for everybody", log_until="chat app: deep thinking is off again",
    )  # fmt: skip
    draft.initiator("deploy", "cohort:chat", START_S, release)
    roomy = {"set": {"replica.kv_blocks": 65536}}
    # What it takes to end it late is not known, so nothing is claimed of that.
    draft.trigger(f"replica:{fleet.replica(0)}", "preemption_thrash", START_S, roomy, within_s=300,
                  also=draft.other_replicas)  # fmt: skip
    return draft.shed_at_last((270, 900), late_s=690, shed_s=780)
