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
    draft.scenario["workload"]["compress"] = 0.9
    draft.scenario["replica"]["cancel_on_disconnect"] = True
    draft.scenario["cohorts"][0]["max_retries"] = 0
    draft.scenario["control_plane"] = {
        "probes": "queue", "probe_interval_s": 15, "probe_timeout_s": 15, "probe_threshold": 2, "restart_s": 60,
    }  # fmt: skip
    burst = draft.set(START_S, START_S + 60, "cohort:chat", "users_factor", 1 + 0.6 * severity)
    draft.trigger("cohort:chat", "external_load", START_S, {"actions": [burst]}, {"end": [burst]}, within_s=10)
    draft.amplifier("probe_restart", set={"control_plane.probes": "heartbeat"})
    return draft.shed_at_last((START_S, 540), 600)


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
