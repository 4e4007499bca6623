"""What the control plane offers to timed actions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from instrumented_engine.control_plane.api_server import ApiServer
from instrumented_engine.control_plane.autoscaler import Autoscaler
from instrumented_engine.control_plane.discovery import Discovery
from instrumented_engine.control_plane.liveness import LivenessProbes
from instrumented_engine.control_plane.rollout import Rollout
from instrumented_engine.mechanism import Mechanism, Operation, Room, Switch
from instrumented_engine.regions.region import sites
from instrumented_engine.scenario import Scenario

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_TEST = "instrumented_engine/test_control_plane.py::"
_OWNER = "control_plane:main"

MECHANISMS = (
    Mechanism(
        "API server overload, and callers that do not back off",
        "a new agent's calls cost too much: the API server falls behind, callers time out and call again, and it stays down "
        "after the agent is gone",
        "OpenAI 2024-12-11; Google 2025-06-12 (restart herd); AWS 2025-10-20 (congestive collapse)",
        ("flashover:api_wait_seconds", "flashover:api_calls"),
        _TEST + "test_an_expensive_agent_overloads_the_api_and_without_back_off_it_stays_so",
        switches=(
            Switch("control_plane", "api_units_per_s", low=1e-3), Switch("control_plane", "agent_units"),
            Switch("control_plane", "caller_backoff", flag=True),
        ),
        settings=("control_plane.api_units_per_s", "control_plane.nodes", "control_plane.agent_units"),
    ),
    Mechanism(
        "discovery caches that hide a dead control plane",
        "records live on for their time to live; users feel the overload only when they expire, long after its cause",
        "OpenAI 2024-12-11 (DNS caches hid it for 20 minutes)",
        ("flashover:discovery_oldest_record_seconds", "flashover:discovery_expired_records", "outcome"),
        _TEST + "test_users_feel_an_overloaded_api_only_when_records_expire",
        switches=(Switch("discovery", "dns_ttl_s", low=1.0, high=86_400),),
        settings=("control_plane.dns_ttl_s",),
    ),
    Mechanism(
        "autoscaler: image pull and warm-up, night scale-down",
        "fewer replicas at night, and a start that takes minutes and comes with a cold cache, beside load that "
        "is back first",
        "DeepSeek day-6 node curve (incident-facts 2); relapses inside the night scale-down (incident-facts 1.1, hypothesis)",
        ("flashover:replicas_wanted", "flashover:replicas_ready", "flashover:replicas_starting", "event scale", "queue_ns"),
        _TEST + "test_a_night_schedule_that_ends_too_late_makes_users_wait",
        switches=(Switch("autoscaler", "scale_min", low=1, whole=True),),
        settings=(
            "control_plane.schedule", "control_plane.curve", "control_plane.autoscale", "control_plane.image_pull_s",
            "control_plane.warm_up_s",
        ),
    ),
    Mechanism(
        "breaker that pauses scheduling, then releases a backlog",
        "decisions made on a state that is long gone are carried out at once: many replicas leave together",
        "OpenAI 2026-03-04 (incident-facts 3)",
        ("flashover:scheduling_backlog", "flashover:replicas_ready", "event scale"),
        _TEST + "test_a_released_backlog_takes_replicas_away_unless_it_is_looked_at_again",
        switches=(
            Switch("autoscaler", "scheduling_paused", flag=True), Switch("autoscaler", "backlog_validated", flag=True),
        ),
        settings=("control_plane.backlog_validated",),
    ),
    Mechanism(
        "roll-out, roll-back, and a bad configuration that re-deploys itself",
        "a version that is slow, replica by replica with cold caches; a reconciler whose source is stale puts it back; the "
        "roll-back needs the same API",
        "OpenAI 2026-07-25 and 2024-12-11 (lock-out); incident-facts 3",
        ("flashover:replicas_on_new_version", "flashover:replicas_replaced", "event deploy", "duration_ns"),
        _TEST + "test_a_stale_reconciler_puts_a_bad_version_back",
        switches=(Switch("rollout", "reconciler_stale", flag=True),),
        operations=(Operation("rollout", "rollout"), Operation("rollout", "rollback")),
        settings=("control_plane.rollout_speed", "control_plane.rollout_batch", "control_plane.reconcile_s"),
    ),
    Mechanism(
        "probe restarts",
        "a liveness probe that waits in the queue kills the busy: cold caches and fewer replicas make the rest busier",
        "serving-mechanisms 2 (false restarts, 1 s time-out x 3)",
        ("flashover:liveness_failures", "flashover:replica_restarts", "event health", "outcome"),
        _TEST + "test_probes_that_wait_in_the_queue_restart_the_busy",
        switches=(
            Switch("liveness", "probes", choices=("off", "queue", "heartbeat")),
            Switch("liveness", "liveness_timeout_s", low=0.001, high=3_600),
            Switch("liveness", "liveness_threshold", low=1, high=100, whole=True),
        ),
        settings=("control_plane.probes", "control_plane.probe_timeout_s", "control_plane.probe_threshold"),
    ),
)


def entities(scenario: Scenario) -> Iterator[str]:
    """The control plane and its parts; in the change log all are the control plane."""
    if scenario.control_plane is not None:
        yield from (_OWNER, "discovery:main", "autoscaler:main", "rollout:main", "liveness:main")


def problems(scenario: Scenario) -> Iterator[str]:
    """What the control plane cannot do."""
    settings = scenario.control_plane
    if settings is None:
        return
    there = sum(len(site.replicas) for site in sites(scenario))
    if settings.replicas is not None and settings.replicas > there:
        yield f"control_plane.replicas = {settings.replicas}: there are only {there}; give fewer, or raise cluster.replicas"
    if settings.curve and (settings.schedule or settings.autoscale):
        yield f"control_plane.curve = {settings.curve!r}: schedule and autoscale want something else; keep one of the three"
    for number, target in enumerate(settings.schedule):
        if target.replicas > there:
            yield f"control_plane.schedule.{number}.replicas = {target.replicas}: there are only {there}"
        if target.at_s > scenario.duration_s:
            yield f"control_plane.schedule.{number}.at_s = {target.at_s:g}: lies after the end of the run; give an earlier time"
    for earlier, later in pairwise(settings.schedule):
        if later.at_s <= earlier.at_s:
            yield f"control_plane.schedule: at_s = {later.at_s:g} comes after {earlier.at_s:g}; sort by time"
    if settings.rollout_batch > there:
        yield f"control_plane.rollout_batch = {settings.rollout_batch}: there are only {there} replicas; give fewer"
    if settings.scale_min > there:
        yield f"control_plane.scale_min = {settings.scale_min}: there are only {there} replicas; give fewer"
    idle = settings.nodes / settings.agent_interval_s * settings.agent_units
    if idle >= settings.api_units_per_s:
        yield (f"control_plane.api_units_per_s = {settings.api_units_per_s:g}: the agents alone ask for {idle:g} a second, it "
               "would never answer; give more, or fewer control_plane.nodes")


def install(cluster: Cluster) -> None:
    """Put API server, discovery, autoscaler, roll-outs and probes beside the replicas."""
    settings = cluster.scenario.control_plane
    if settings is None:
        return
    api = ApiServer(
        cluster.loop, cluster.random("control plane"), units_per_s=settings.api_units_per_s,
        timeout_s=settings.api_timeout_s, agent_units=settings.agent_units, backoff=settings.caller_backoff,
    )
    discovery = Discovery(cluster, api, cluster.engines, settings.dns_ttl_s)
    scaler = Autoscaler(cluster, api, cluster.engines, settings)
    rollout = Rollout(cluster, api, cluster.engines, settings)
    liveness = LivenessProbes(cluster, cluster.engines, settings)
    pools = [region.site.pool for region in cluster.regions]
    cluster.add(_OWNER, api, api.measures, calls=pools)
    cluster.add("discovery:main", discovery, of=_OWNER)
    cluster.add("autoscaler:main", scaler, of=_OWNER)
    cluster.add("rollout:main", rollout, of=_OWNER)
    cluster.add("liveness:main", liveness, of=_OWNER)
    cluster.measures[_OWNER] += [discovery.measures, scaler.measures, rollout.measures, liveness.measures]
    for _ in range(settings.nodes):
        cluster.spawn(api.agent(settings.agent_interval_s))
    for number, engine in enumerate(cluster.engines):
        cluster.spawn(discovery.keep(number))
        cluster.spawn(liveness.watch(engine))
    for region in cluster.regions:
        cluster.add(region.site.gateway, region.gateway, calls=[_OWNER])
        for engine in region.engines:
            cluster.add(engine.entity, engine, part_of=[region.site.pool])
    cluster.spawn(scaler.follow_schedule())
    cluster.spawn(rollout.reconcile())
    if settings.curve:
        cluster.spawn(scaler.follow_curve(cluster.scenario.beijing_hour))
    if settings.autoscale is not None:
        cluster.spawn(scaler.follow_load())


ROOM = Room(MECHANISMS, install, entities, problems)
