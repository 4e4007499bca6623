"""Outages by those who run the fleet: an autoscaler, a breaker, a liveness probe."""

from __future__ import annotations

from incidents.families.draft import START_S, Draft
from incidents.families.fleet import Topology


def night_scale_down(fleet: Topology, severity: float) -> Draft:
    """The night's schedule takes a replica too many away; load is shed, comes back, and the fleet falls over again."""
    draft = Draft(fleet, "The night schedule takes a replica too many away, twice felt")
    gone = max(1, round(0.25 * severity * fleet.replicas))
    draft.scenario["hardware"] = {"gpus": 1}
    draft.scenario["duration_s"] = 1650
    draft.scenario["control_plane"] = {
        "schedule": [{"at_s": START_S, "replicas": fleet.replicas - gone}, {"at_s": 1260, "replicas": fleet.replicas}],
        "image_pull_s": 30, "warm_up_s": 30, "drain_s": 30,
    }  # fmt: skip
    draft.trigger("pool:main", "scale_down", START_S, {"set": {"control_plane.schedule": []}}, within_s=60)
    draft.shed(660, 750)
    draft.shed(1320, 1500)
    draft.impact((270, 660), (1500, 1560))
    draft.proof(1380, 1700)
    return draft


def probe_restart_loop(fleet: Topology, severity: float) -> Draft:
    """A burst that the fleet would carry makes liveness probes time out: the busy are restarted, and the rest become busier."""
    draft = Draft(fleet, "Liveness probes restart whoever is busy")
    draft.scenario["workload"]["compress"] = 0.75
    draft.scenario["replica"]["cancel_on_disconnect"] = True
    draft.scenario["cohorts"][0]["max_retries"] = 0
    draft.scenario["control_plane"] = {
        "probes": "queue", "probe_interval_s": 15, "probe_timeout_s": 15, "probe_threshold": 2, "restart_s": 60,
    }  # fmt: skip
    burst = draft.set(START_S, START_S + 60, "cohort:chat", "users_factor", 1 + 1.2 * severity)
    draft.trigger("cohort:chat", "external_load", START_S, {"actions": [burst]}, {"end": [burst]}, within_s=10)
    draft.amplifier("probe_restart", set={"control_plane.probes": "heartbeat"})
    draft.scenario["duration_s"] = 1650  # it ends by itself, sooner or later
    draft.impact((START_S, 540), (330, 1560))
    draft.proof(600)
    return draft


def breaker_backlog(fleet: Topology, severity: float) -> Draft:
    """Scheduling is paused; what it would have done meanwhile is carried out at once when it is released."""
    draft = Draft(fleet, "A breaker is released, and replicas leave together")
    away = max(1, round(0.5 * severity * fleet.replicas))
    draft.scenario["hardware"] = {"gpus": 1}
    draft.scenario["control_plane"] = {
        "schedule": [{"at_s": 120, "replicas": fleet.replicas - away}, {"at_s": 200, "replicas": fleet.replicas}],
        "image_pull_s": 60, "warm_up_s": 60, "drain_s": 10, "backlog_validated": False,
    }  # fmt: skip
    draft.set(
        100, START_S, "autoscaler:main", "scheduling_paused", True, log="circuit breaker: scheduling paused",
        log_until="circuit breaker: scheduling released",
    )  # fmt: skip
    draft.trigger("pool:main", "breaker_backlog", START_S,
                  {"set": {"control_plane.backlog_validated": True}}, within_s=30)  # fmt: skip
    return draft.storm((START_S, 540), late_s=600)


def control_plane_dns(fleet: Topology, severity: float) -> Draft:
    """A telemetry agent floods the API server; discovery's caches hide it until their records expire."""
    draft = Draft(fleet, "An overloaded control plane, hidden by discovery caches")
    draft.scenario["control_plane"] = {
        "nodes": 100, "agent_interval_s": 10, "api_units_per_s": 40, "api_timeout_s": 10, "dns_ttl_s": 180,
        "caller_backoff": False,
    }  # fmt: skip
    agent = draft.set(
        START_S, 540, "control_plane:main", "agent_units", 6 * severity, kind="deploy",
        log="telemetry agent 2.0 on all nodes", log_until="telemetry agent taken back",
    )  # fmt: skip
    draft.initiator("deploy", "control_plane:main", START_S, agent)
    cure = draft.set(720, "end", "control_plane:main", "api_units_per_s", 1_000, kind="scale", log="API servers scaled out")
    draft.truth["proof"]["without"] = {"actions": [cure]}
    draft.trigger("control_plane:main", "control_plane_overload", START_S, {"actions": [agent]}, {"end": [agent]}, within_s=60)
    draft.sustainer("control_plane_overload", do=[
        {"do": "set", "target": "control_plane:main", "key": "api_units_per_s", "value": 1_000.0},
    ])  # fmt: skip
    draft.impact((START_S + 60, 540), (720, 1000))
    draft.proof(520, 1230)
    return draft


def self_redeploying_rollout(fleet: Topology, severity: float) -> Draft:
    """A slow version is rolled back, and a reconciler with a stale source puts it back."""
    draft = Draft(fleet, "A bad version is rolled back and deploys itself again")
    draft.scenario["hardware"] = {"gpus": 1}
    draft.scenario["replica"]["cancel_on_disconnect"] = True
    draft.scenario["cohorts"][0]["max_retries"] = 0  # no storm: the version alone decides
    draft.scenario["workload"]["compress"] = 0.5  # a fleet that can spare the replica that is being replaced
    draft.scenario["control_plane"] = {
        "rollout_speed": round(max(0.1, 1 - 0.72 * severity), 3), "rollout_batch": 1, "drain_s": 10, "warm_up_s": 10,
        "reconcile_s": 60,
    }  # fmt: skip
    pool = "pool:main"
    out = draft.call(START_S, "rollout", "rollout:main", kind="deploy", log="engine 0.12 rolled out")
    stale = draft.set(START_S + 30, 840, "rollout:main", "reconciler_stale", True)
    draft.call(420, "rollback", "rollout:main", kind="deploy", log="engine rolled back to 0.11")
    draft.call(845, "rollback", "rollout:main", kind="deploy", log="reconciler repaired, engine rolled back again")
    draft.initiator("deploy", pool, START_S, out, stale)
    draft.trigger(pool, "slow_release", START_S, {"set": {"control_plane.rollout_speed": 1.0}}, within_s=120)
    draft.amplifier("reconciler_redeploy", actions=[stale])
    draft.impact((300, 900), (850, 1170))
    draft.proof(860, 1230)
    return draft
