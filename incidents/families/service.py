"""Outages beside the engines: regions and who sends users to them, the chat tier, quotas of tiers."""

from __future__ import annotations

from typing import Any

from incidents.families.draft import CALM_S, SHED_S, START_S, Draft
from incidents.families.fleet import Topology


def cold_failover(fleet: Topology, severity: float) -> Draft:
    """A region cannot be reached; its users come to another whose caches know nothing of them."""
    draft = _two_regions(fleet, "A failover onto cold caches")
    lost = draft.set(START_S, START_S + 150 * severity, "region:west", "up", False)
    draft.trigger("region:west", "region_loss", START_S, {"actions": [lost]}, {"end": [lost]}, within_s=30)
    return _storm(draft, (START_S, 600))


def strict_probes(fleet: Topology, severity: float) -> Draft:
    """Deep probes that wait behind users take the busier region out; the other gets its users, and is taken out as well."""
    strict = {"probe_path": "deep", "probe_interval_s": 5, "probe_timeout_s": 4, "fall": 2, "rise": 1, "hold_down_s": 20,
              "return_ramp_s": 0, "dns_ttl_s": 5}  # fmt: skip
    draft = _two_regions(fleet, "Health checks that are too strict for a busy minute", **strict)
    burst = draft.set(START_S, START_S + 60, "cohort:chat", "users_factor", 1 + 0.6 * severity)
    draft.trigger("cohort:chat", "external_load", START_S, {"actions": [burst]}, {"end": [burst]}, within_s=10)
    draft.amplifier("health_check_flap", "traffic_manager:main", set={"traffic_manager.probe_path": "shallow"})
    return _storm(draft, (START_S, 600))


def chat_store(fleet: Topology, severity: float) -> Draft:
    """The store of chat histories slows down: chat is out, the API beside it is not."""
    draft = Draft(fleet, "Chat is out, the API is not")
    draft.scenario["cohorts"][0] |= {"via": "chat", "share": 2.0}
    draft.scenario["cohorts"].append({"name": "api", "tier": "paid", "share": 1.0, "ttft_timeout_s": 25, "max_retries": 2})
    draft.scenario["chat_tier"] = {"history_ops_per_s": 50}
    slow = draft.set(START_S, 780, "service:history", "chat_ops_per_s", round(0.8 / severity, 3))
    draft.trigger("service:history", "chat_store_overload", START_S, {"actions": [slow]}, {"end": [slow]}, within_s=30)
    draft.impact((START_S, 420), (780, 960), "chat")
    draft.proof(600, 1400)
    return draft


def login_storm(fleet: Topology, severity: float) -> Draft:
    """A lost token store logs everybody out, and the login cannot take everybody back."""
    draft = Draft(fleet, "Everybody is logged out, and the login is too small for everybody")
    draft.scenario["cohorts"][0] |= {"via": "chat", "share": 2.0, "retry": "refresh", "ttft_timeout_s": 10, "give_up": 0.1}
    draft.scenario["cohorts"].append({"name": "api", "tier": "paid", "share": 1.0, "ttft_timeout_s": 25, "max_retries": 2})
    draft.scenario["chat_tier"] = {"logins_per_s": round(3.0 / severity, 2), "login_ttl_s": 3600}
    slow = draft.call(START_S, "log_everybody_out", "chat:main")
    draft.trigger("service:login", "login_overload", START_S, {"actions": [slow]}, within_s=30)
    draft.impact((START_S, 420), (300, 1200), "chat")
    draft.proof(600, 1400)
    return draft


def free_tier_limit(fleet: Topology, severity: float) -> Draft:
    """Half as many free users again; a quota on the free tier keeps the paid one whole."""
    draft = Draft(fleet, "A quota on the free tier saves the paid one")
    gateway = fleet.named("gateway")
    draft.scenario["cohorts"][0] |= {"share": 3.0}
    draft.scenario["cohorts"].append({"name": "paid", "tier": "paid", "share": 1.0, "ttft_timeout_s": 25, "max_retries": 2})
    draft.scenario["gateway"] = {"tiers": [{"name": "free"}]}
    spike = draft.set(START_S, 780, "cohort:chat", "users_factor", 1 + 1.5 * severity)
    quota = draft.set(
        START_S + 30, CALM_S, f"tier:{gateway}-free" if False else "tier:free", "tier_concurrency", 10, kind="load_shed",
        log="free tier: at most 10 requests at a time", log_until="free tier: quota lifted",
    )  # fmt: skip
    draft.trigger("cohort:chat", "external_load", START_S, {"actions": [spike]}, {"end": [spike]}, within_s=10)
    draft.mitigation("a quota on the free tier", ("paid",), quota)
    draft.impact((START_S, 420), (780, SHED_S), "chat")
    draft.proof(600, 1200)
    return draft


def _two_regions(fleet: Topology, title: str, **manager: Any) -> Draft:
    draft = Draft(fleet, title)
    half = fleet.replicas // 2
    draft.scenario["regions"] = [
        {"name": "west", "replicas": half, "users": half}, {"name": "east", "replicas": fleet.replicas - half, "users":
         fleet.replicas - half},
    ]  # fmt: skip
    draft.scenario["links"] = [{"between": ["west", "east"], "latency_ms": 30}]
    draft.scenario["traffic_manager"] = {"probe_path": "shallow", "hold_down_s": 30, "return_ramp_s": 60, **manager}
    return draft


def _storm(draft: Draft, outage_from_s: tuple[float, float], late_s: float = 600) -> Draft:
    """Retries take over, and only the operator ends it."""
    draft.retry_storm()
    draft.shed(gateways=("west", "east"))
    draft.impact(outage_from_s)
    draft.proof(late_s)
    return draft
