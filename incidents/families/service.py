"""Outages beside the engines: regions and who sends users to them, the chat tier, quotas of tiers."""

from __future__ import annotations

from typing import Any

from incidents.families.draft import START_S, Draft
from incidents.families.fleet import Topology


def cold_failover(fleet: Topology, severity: float) -> Draft:
    """A region cannot be reached; its users come to another whose caches know nothing of them."""
    draft = _two_regions(fleet, "A failover onto cold caches")
    lost = draft.set(START_S, START_S + 150 * severity, "region:west", "up", False)
    draft.trigger("region:west", "region_loss", START_S, {"actions": [lost]}, {"end": [lost]}, within_s=30)
    draft.retries_amplify()
    return draft.shed_at_last((START_S, 600), 400)


def strict_probes(fleet: Topology, severity: float) -> Draft:
    """Deep probes that wait behind users take the busier region out; the other gets its users, and is taken out as well."""
    strict = {"probe_path": "deep", "probe_interval_s": 5, "probe_timeout_s": 12, "fall": 2, "rise": 1, "hold_down_s": 20,
              "return_ramp_s": 0, "dns_ttl_s": 5}  # fmt: skip
    draft = _two_regions(fleet, "Health checks that are too strict for a busy minute", **strict)
    burst = draft.set(START_S, START_S + 90, "cohort:chat", "users_factor", 1 + 1.2 * severity)
    draft.trigger("cohort:chat", "external_load", START_S, {"actions": [burst]}, within_s=10)
    draft.amplifier("health_check_flap", "traffic_manager:main", set={"traffic_manager.probe_path": "shallow"})
    return draft.storm((START_S, 600), 400)


def lost_probes(fleet: Topology, severity: float) -> Draft:
    """A traffic manager loses its probes on the way and takes healthy regions out, one or all, again and again."""
    draft = _two_regions(fleet, "A traffic manager without probes takes healthy regions out", fall=2, rise=1, dns_ttl_s=5,
                         return_ramp_s=0, fail_open=False)  # fmt: skip
    manager = "traffic_manager:main"
    lost = draft.set(START_S, 780, manager, "probe_loss", round(min(0.98, 0.85 * severity), 4),
                     log="network: new firewall between the probes and the regions")  # fmt: skip
    draft.initiator("config_change", manager, START_S, lost)
    draft.trigger(manager, "lost_probes", START_S, {"actions": [lost]}, {"end": [lost]}, within_s=60)
    draft.impact((START_S, 540), (780, 1140))
    draft.proof(690, 1230)
    return draft


def chat_store(fleet: Topology, severity: float) -> Draft:
    """The store of chat histories slows down: chat is out, the API beside it is not."""
    draft = Draft(fleet, "Chat is out, the API is not")
    draft.scenario["workload"]["compress"] = 0.9  # room for those who come back
    draft.scenario["cohorts"][0] |= {"via": "chat", "share": 2.0}
    draft.scenario["cohorts"].append({"name": "api", "tier": "paid", "share": 1.0, "ttft_timeout_s": 25, "max_retries": 2})
    draft.scenario["chat_tier"] = {"history_ops_per_s": 50}
    slow = draft.set(START_S, 780, "service:history", "chat_ops_per_s", round(0.8 / severity, 3))
    draft.trigger("service:history", "chat_store_overload", START_S, {"actions": [slow]}, {"end": [slow]}, within_s=30)
    draft.impact((START_S, 420), (780, 960), "chat")
    draft.proof(600, 1400)
    return draft


def free_tier_limit(fleet: Topology, severity: float) -> Draft:
    """Half as many free users again; a quota on the free tier keeps the paid one whole."""
    draft = Draft(fleet, "A quota on the free tier saves the paid one")
    draft.scenario["cohorts"][0] |= {"share": 3.0}
    draft.scenario["cohorts"].append({"name": "paid", "tier": "paid", "share": 1.0, "ttft_timeout_s": 25, "max_retries": 2})
    draft.scenario["gateway"] = {"tiers": [{"name": "free"}]}
    spike = draft.set(START_S, 780, "cohort:chat", "users_factor", 1 + 0.7 * severity)
    quota = draft.set(
        START_S + 10, 780, f"tier:{fleet.named('gateway')}-free", "tier_concurrency", 4, kind="load_shed",
        log="free tier: at most 4 requests at a time", log_until="free tier: quota lifted",
    )  # fmt: skip
    draft.trigger("cohort:chat", "external_load", START_S, {"actions": [spike, quota]}, {"end": [spike, quota]}, within_s=10)
    draft.mitigation("a quota on the free tier", ("paid",), quota)
    draft.impact((START_S, 420), (780, 900), "chat")
    draft.proof(600, 1200)
    return draft


def _two_regions(fleet: Topology, title: str, **manager: Any) -> Draft:
    draft = Draft(fleet, title)
    draft.scenario["workload"]["compress"] = 0.75  # halves share their work less evenly
    west = fleet.replicas // 2
    east = fleet.replicas - west
    draft.scenario["regions"] = [
        {"name": "west", "replicas": west, "users": west}, {"name": "east", "replicas": east, "users": east},
    ]  # fmt: skip
    draft.scenario["links"] = [{"between": ["west", "east"], "latency_ms": 30}]
    draft.scenario["traffic_manager"] = {"probe_path": "shallow", "hold_down_s": 30, "return_ramp_s": 60, **manager}
    return draft
