"""What regions and the traffic between them offer to timed actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Mechanism, Operation, Room, Switch
from instrumented_engine.network.link import SWITCHES, Link
from instrumented_engine.regions.health_checks import HealthCheck
from instrumented_engine.regions.probes import Probe, Uplink
from instrumented_engine.regions.traffic_manager import Manager, TrafficDoor
from instrumented_engine.scenario import Scenario
from instrumented_engine.scenario.regions import TrafficManager

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_TEST = "instrumented_engine/test_regions.py::"

MECHANISMS = (
    Mechanism(
        "region loss and failover onto cold caches",
        "a region that cannot be reached is taken out; its users go where their prefixes are in no cache, so that the "
        "survivors' load grows by more than the users: by 1 + m / (N - 1) with m the cold over the warm cost",
        "serving-mechanisms 5 and 6 (failover onto cold caches)",
        ("event health", "flashover:traffic_sent", "flashover:traffic_away_from_home", "computed_tokens", "cached_tokens"),
        _TEST + "test_survivors_of_a_failover_compute_what_the_closed_form_says",
        switches=(Switch("region", "up", flag=True),),
        operations=(Operation("region", "fail_over"), Operation("region", "fail_back")),
        settings=("regions.name", "regions.replicas", "regions.users"),
    ),
    Mechanism(
        "health checks that are too strict under load",
        "a deep check waits in the same queues as users: a saturated region is taken out, the others get its users and "
        "saturate",
        "serving-mechanisms 2 (health checks: saturation, 1 s time-out x 3); AWS 2025-10-20",
        ("event health", "flashover:probe_failures", "flashover:probe_latency_seconds", "flashover:health_flips"),
        _TEST + "test_strict_probes_flap_under_load_and_patient_ones_do_not",
        switches=(
            Switch("traffic_manager", "probe_timeout_s", low=0.001, high=600),
            Switch("traffic_manager", "fall", low=1, high=100, whole=True),
            Switch("traffic_manager", "rise", low=1, high=100, whole=True),
            Switch("traffic_manager", "hold_down_s", high=86_400),
        ),
        settings=("traffic_manager.probe_timeout_s", "traffic_manager.fall", "traffic_manager.hold_down_s"),
    ),
    Mechanism(
        "health checks that see too little",
        "a shallow check asks the gateway's process, which answers while every replica behind it is gone",
        "serving-mechanisms 2 (200 while hung, 5 to 22 minutes silent)",
        ("event health", "flashover:region_healthy", "outcome"),
        _TEST + "test_a_shallow_probe_sees_nothing_of_dead_replicas_and_a_deep_one_does",
        switches=(Switch("traffic_manager", "probe_path", choices=("shallow", "deep")),),
        settings=("traffic_manager.probe_path",),
    ),
    Mechanism(
        "stale health",
        "decisions are made by health that is minutes old, or by a resolver's answer that has not expired",
        "incident-facts 3 (DNS caches hid it for 20 minutes; stale state)",
        ("outcome", "flashover:region_healthy", "flashover:traffic_sent"),
        _TEST + "test_stale_health_and_long_lived_answers_send_users_to_a_dead_region",
        switches=(
            Switch("traffic_manager", "health_delay_s", high=86_400), Switch("traffic_manager", "dns_ttl_s", high=86_400),
        ),
        settings=("traffic_manager.health_delay_s", "traffic_manager.dns_ttl_s"),
    ),
    Mechanism(
        "return-flow overload",
        "a region that is back gets all its users at once, on caches that have gone cold",
        "incident-facts 3 (OpenAI 2026-09-03: return-flow overload prolonged recovery)",
        ("flashover:traffic_sent", "queue_ns", "vllm:num_requests_waiting"),
        _TEST + "test_a_return_at_once_overloads_and_a_ramp_does_not",
        switches=(Switch("traffic_manager", "return_ramp_s", high=86_400),),
        settings=("traffic_manager.return_ramp_s",),
    ),
    Mechanism(
        "split view of two traffic managers",
        "every manager probes from where it stands: a slow link makes two of them disagree, and a conversation goes back and "
        "forth between regions",
        "incident-facts 3 (mixed nodes, flapping)",
        ("flashover:region_healthy", "flashover:traffic_away_from_home", "cached_tokens"),
        _TEST + "test_a_split_view_sends_conversations_back_and_forth",
        switches=(Switch("traffic_manager", "probe_loss", high=1.0), Switch("traffic_manager", "fail_open", flag=True)),
        settings=("traffic_manager.managers", "traffic_manager.fail_open"),
    ),
    Mechanism(
        "dynamic balancing between regions",
        "weights follow load; reports older than their effect make them swing",
        "incident-facts 2 (three balancers); control theory of delayed feedback",
        ("flashover:region_weight", "flashover:traffic_sent", "flashover:gateway_inflight"),
        _TEST + "test_balancing_by_load_evens_out_and_swings_when_its_reports_are_old",
        switches=(
            Switch("traffic_manager", "balance", choices=("home", "load")),
            Switch("traffic_manager", "balance_interval_s", low=0.1, high=3_600),
        ),
        settings=("traffic_manager.balance", "traffic_manager.balance_interval_s"),
    ),
    Mechanism(
        "links between regions",
        "latency, shared bandwidth, loss, and a link that is down",
        "serving-mechanisms 6 (fair-share bandwidth); network of DESIGN 4",
        ("flashover:link_sent_bytes", "flashover:link_failures", "gateway_ns", "outcome"),
        _TEST + "test_a_lossy_or_broken_link_is_felt_by_users_away_from_home",
        switches=SWITCHES,
        settings=("links.between", "links.latency_ms", "links.bandwidth_gbps", "links.loss"),
    ),
)


def manager_entities(scenario: Scenario) -> list[str]:
    """The traffic managers of a scenario with several regions."""
    if len(scenario.regions) < 2:
        return []
    count = (scenario.traffic_manager or TrafficManager()).managers
    return ["traffic_manager:main"] if count == 1 else [f"traffic_manager:main-{i}" for i in range(count)]


def entities(scenario: Scenario) -> Iterator[str]:
    """Regions, managers and links."""
    if len(scenario.regions) >= 2:
        yield from (f"region:{region.name}" for region in scenario.regions)
        yield from manager_entities(scenario)
        yield from (f"link:{'-'.join(link.between)}" for link in scenario.links)


def problems(scenario: Scenario) -> Iterator[str]:
    """What of regions, links and traffic manager cannot work."""
    names = [region.name for region in scenario.regions]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"regions.name = {name!r}: two regions have it; give each a name of its own"
    if names and sum(region.users for region in scenario.regions) <= 0:
        yield "regions.users = 0: no region is anybody's home; give at least one region users"
    seen: set[frozenset[str]] = set()
    for number, link in enumerate(scenario.links):
        for end in link.between:
            if end not in names:
                listed = ", ".join(names) or "none, this scenario has no [[regions]]"
                yield f"links.{number}.between = {list(link.between)}: there is no region {end!r}; there are: {listed}"
        if link.between[0] == link.between[1]:
            yield f"links.{number}.between = {list(link.between)}: a link needs two different ends"
        if frozenset(link.between) in seen:
            yield f"links.{number}.between = {list(link.between)}: there is a link between them already; keep one"
        seen.add(frozenset(link.between))
    manager = scenario.traffic_manager
    if manager is None:
        return
    if len(names) < 2:
        yield f"traffic_manager: has nothing to choose from with {len(names)} [[regions]]; give at least two"
    if manager.balance == "load" and manager.health_delay_s > scenario.duration_s:
        yield f"traffic_manager.health_delay_s = {manager.health_delay_s:g}: no report ever arrives; give less than the run"


def install(cluster: Cluster) -> None:
    """Put the traffic manager before the regions' gateways."""
    scenario = cluster.scenario
    if len(cluster.regions) < 2:
        return
    policy = scenario.traffic_manager or TrafficManager()
    gateways = [region.site.gateway for region in cluster.regions]
    number = {region.site.name: i for i, region in enumerate(cluster.regions)}
    links: dict[frozenset[int], Link] = {}
    for settings in scenario.links:
        entity = f"link:{'-'.join(settings.between)}"
        links[frozenset(number[end] for end in settings.between)] = link = Link(
            entity, cluster.loop, cluster.random(entity), latency_ms=settings.latency_ms,
            bandwidth_gbps=settings.bandwidth_gbps, loss=settings.loss,
        )
        cluster.add(entity, link, link.measures)
    managers = [Manager(entity, cluster, policy, cluster.regions) for entity in manager_entities(scenario)]
    for i, region in enumerate(cluster.regions):
        uplink = Uplink(i, managers)
        cluster.add(f"region:{region.site.name}", uplink)
        for stands_in, manager in enumerate(managers):
            way = links.get(frozenset((stands_in % len(cluster.regions), i)))
            probe = Probe(cluster, manager, region, uplink, way)
            check = HealthCheck(cluster, manager, region.site.name, probe)
            manager.checks.append(check)
            cluster.spawn(check.run())
    door = TrafficDoor(cluster, policy, managers, links)
    for manager in managers:
        cluster.add(manager.entity, manager, manager.measures, routes_to=gateways)
        cluster.spawn(manager.weights.run())
    cluster.add(managers[0].entity, managers[0], door.measures)
    cluster.front = door


ROOM = Room(MECHANISMS, install, entities, problems)
