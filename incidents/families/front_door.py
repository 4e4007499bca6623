"""Outages of those who decide where a request goes: a gateway's limits, a router's loads, an index that hears badly."""

from __future__ import annotations

from incidents.families.draft import START_S, Draft
from incidents.families.fleet import Topology


def narrow_gate(fleet: Topology, severity: float) -> Draft:
    """A gateway's limit was meant for each replica and is set for all of them: attempts wait before idle engines."""
    draft = Draft(fleet, "A limit for each replica is set for the whole fleet")
    draft.scenario["workload"]["compress"] = 0.8
    gateway = fleet.named("gateway")
    limit = max(1, round(7 / severity))
    draft.scenario["gateway"] = {"max_concurrency": 400}
    narrow = draft.set(
        START_S, 780, f"admission:{gateway}", "max_concurrency", limit, kind="config_change",
        log=f"gateway: at most {limit} requests at a time", log_until="gateway: at most 400 requests at a time",
    )  # fmt: skip
    draft.initiator("config_change", f"gateway:{gateway}", START_S, narrow)
    draft.trigger(f"gateway:{gateway}", "gateway_backlog", START_S, {"actions": [narrow]}, {"end": [narrow]}, within_s=30)
    return draft.storm((270, 540), late_s=690)


def lost_card_is_not_it(fleet: Topology, severity: float) -> Draft:
    """A limit per second is read as one per minute; a card falls off the bus half a minute before, and nobody misses it."""
    draft = Draft(fleet, "A rate limit sixty times too low, and a lost card that nobody misses")
    draft.scenario["workload"]["compress"] = 0.55
    draft.scenario["hardware"] = {"gpus": 1, "restart_s": 30}
    draft.scenario["gateway"] = {"tiers": [{"name": "free", "rate_per_s": 36.0, "burst": 60.0}]}
    gateway = fleet.named("gateway")
    limit = round(0.6 / severity, 3)
    slip = draft.set(
        START_S, 780, f"tier:{gateway}-free", "tier_rate_per_s", limit, kind="config_change",
        log="gateway: rate limits moved to the new format", log_until="gateway: rate limits moved back",
    )  # fmt: skip
    draft.initiator("config_change", f"gateway:{gateway}", START_S, slip)
    draft.trigger(f"gateway:{gateway}", "admission_rejection", START_S, {"actions": [slip]}, {"end": [slip]}, within_s=60)
    draft.decoy("a lost card", draft.set(START_S - 30, 600, f"gpu:{fleet.replica(1)}.0", "lost", True))
    draft.impact((START_S, 420), (780, 900))
    draft.proof(690, 1400)
    return draft


def stale_loads(fleet: Topology, severity: float) -> Draft:
    """Routers look at loads rarely, to save calls: everybody is sent to the replica that was empty then."""
    draft = Draft(fleet, "Routers go by loads of half a minute ago")
    draft.scenario["workload"]["compress"] = 0.95
    names = [fleet.named("router")] if fleet.routers == 1 else [f"{fleet.named('router')}-{i}" for i in range(fleet.routers)]
    old = [
        draft.set(
            START_S, 780, f"router:{name}", "load_age_ms", 30_000.0 * severity, kind="config_change",
            log="router: loads are looked at less often" if name == names[0] else "",
            log_until="router: loads are looked at as before" if name == names[0] else "",
        )
        for name in names
    ]  # fmt: skip
    draft.initiator("config_change", f"router:{names[0]}", START_S, *old)
    draft.trigger(f"router:{names[0]}", "router_imbalance", START_S, {"actions": old}, {"end": old}, within_s=60)
    return draft.storm((270, 700), late_s=690)


def deaf_index(fleet: Topology, severity: float) -> Draft:
    """A bad cable drops some of what one replica tells the KV index; every gap costs a dump, and every lookup waits for it."""
    draft = Draft(fleet, "The KV index hears one replica badly, and everybody waits")
    draft.scenario["kv_index"] = {"writer_ops_per_s": 300, "stream_buffer_events": 10_000, "lookups_wait": True}
    index = f"kv_index:{fleet.named('kv_index')}"
    lost = draft.set(START_S, 780, f"stream:{fleet.replica(fleet.replicas - 1)}", "loss", round(min(0.9, 0.02 * severity), 4))
    draft.trigger(index, "kv_event_gaps", START_S, {"actions": [lost]}, {"end": [lost]}, within_s=60)
    return draft.storm((250, 900), late_s=690)
