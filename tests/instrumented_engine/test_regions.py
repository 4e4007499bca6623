"""Regions: what failover costs and how its protocol fails, each beside the setting under which it does not."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from small_fleet import Memory, NullRunner

from instrumented_engine.clients.workload import Arrival, Arrivals
from instrumented_engine.cluster import Cluster
from instrumented_engine.regions.traffic_manager import Manager
from instrumented_engine.rooms import problems
from instrumented_engine.scenario import Scenario

SECOND = 1_000_000_000
THREE = [{"name": "eu"}, {"name": "us"}, {"name": "asia"}]


def scene(**tables: Any) -> Scenario:
    data: dict[str, Any] = {
        "title": "regions", "duration_s": 200, "regions": THREE,
        "workload": {"prompt_scale": 1 / 64}, "cluster": {"replicas": 1},
        "replica": {"block_tokens": 8, "kv_blocks": 60_000},
        "cohorts": [{"name": "chat", "ttft_timeout_s": 60, "max_retries": 0}],
    }
    for key, value in tables.items():
        data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
    found = Scenario.model_validate(data)
    assert not list(problems(found))
    return found


def talk(sessions: int, times: list[tuple[float, float]], *, blocks: int = 4, more: int = 1, output: int = 4) -> Arrivals:
    """``sessions`` conversations with a turn in each of ``times`` (from s, to s): the first turn has ``blocks`` blocks, each
    later one ``more`` on top of what was said."""
    rng = random.Random(2)
    requests = []
    for number in range(sessions):
        for turn, (low, high) in enumerate(times):
            count = blocks + more * turn
            requests.append(Arrival(
                at_ns=round(rng.uniform(low, high) * SECOND), session=f"s{number}", prompt_tokens=count * 8 * 64,
                output_tokens=output * 4, engine_prompt=count * 8, engine_output=output,
                blocks=tuple(number * 1_000 + i for i in range(count)),
            ))
    return Arrivals(sorted(requests, key=lambda arrival: arrival.at_ns), 0)


def played(
    scenario: Scenario, arrivals: Arrivals, at: tuple[float, Callable[[Cluster], None]] | None = None
) -> tuple[Cluster, Memory]:
    memory = Memory()
    cluster = Cluster(scenario, arrivals, NullRunner(), memory, lambda key, count, vocabulary: [key % 64] * count)
    if at is not None:
        cluster.loop.call_at_ns(round(at[0] * SECOND), at[1], cluster)
    cluster.run()
    return cluster, memory


def down(region: str, at_s: float, until_s: float | str = "end") -> dict[str, Any]:
    return {"at_s": at_s, "until_s": until_s, "do": "set", "target": f"region:{region}", "key": "up", "value": False}


def health_events(memory: Memory) -> list[str]:
    return [summary for kind, _, summary, _ in memory.actions if kind == "health"]


def measured(manager: Manager, name: str) -> dict[str, float]:
    return {dict(m.labels)["region"]: m.value for m in manager.measures() if m.name == name}


QUICK = {"probe_interval_s": 1, "probe_timeout_s": 0.9, "fall": 2, "dns_ttl_s": 0, "probe_path": "shallow"}


def test_survivors_of_a_failover_compute_what_the_closed_form_says() -> None:
    """Load of each survivor x [1 + m / (N - 1)], m = 1 / (1 - h) by computed prompt tokens, within 10 %. Every
    conversation has one turn before the region is lost and one after: h = 4 / 5 where it stays, 0 where it moves."""
    turns = talk(300, [(0, 80), (110, 190)])

    def computed_after(actions: list[dict[str, Any]]) -> tuple[float, int, set[str]]:
        cluster, memory = played(scene(traffic_manager=QUICK, actions=actions), turns)
        late = [s for s in memory.done if s.arrival.at_ns > 100 * SECOND and s.attempt.cohort.name == "chat"]
        survivors = {"replica:us-r0", "replica:asia-r0"}
        ids = {r.attempt.span_id for r in memory.attempts if r.replica in survivors}
        own = [s for s in late if s.attempt.span_id in ids]
        door = cluster.parts["traffic_manager:main"]
        sent = {region for region, healthy in measured(door, "flashover:region_healthy").items() if healthy}
        return sum(s.computed_prompt for s in own), len(own), sent

    healthy, before, all_three = computed_after([])
    lost, after, left = computed_after([down("eu", 90)])
    assert all_three == {"eu", "us", "asia"}
    assert left == {"us", "asia"}
    assert after == 300
    moved = after - before
    m = 1 / (1 - 4 / 5)
    assert lost / healthy == pytest.approx(1 + m * moved / before, rel=0.10)
    assert lost / healthy == pytest.approx(1 + m / 2, rel=0.25), "with the users not quite evenly spread"


def test_failover_with_headroom_passes_unnoticed_but_for_its_own_delay() -> None:
    turns = talk(200, [(0, 80), (110, 190)])
    _, memory = played(scene(traffic_manager=QUICK, actions=[down("eu", 90, 150)]), turns)
    failed = [r for r in memory.attempts if r.outcome != "ok"]
    assert all(90 * SECOND <= r.start_ns <= 95 * SECOND for r in failed)
    assert {r.door for r in failed} <= {"traffic_manager:main"}
    assert [text.split(": ")[1].split(",")[0] for text in health_events(memory)] == ["eu unhealthy", "eu healthy again"]


def crowd(sessions: int) -> Arrivals:
    return talk(sessions, [(5, 150)], output=60)


STRICT = {"probe_interval_s": 1, "probe_timeout_s": 0.5, "fall": 1, "rise": 1, "hold_down_s": 0, "return_ramp_s": 0,
          "dns_ttl_s": 0, "probe_path": "deep"}


def test_strict_probes_flap_under_load_and_patient_ones_do_not() -> None:
    """The same crowd, which the fleet can carry: checks that wait in the users' queues take regions out in turn."""
    strict = played(scene(traffic_manager=STRICT), crowd(700))
    patient = played(scene(traffic_manager={**STRICT, "probe_timeout_s": 30, "fall": 3, "hold_down_s": 60}), crowd(700))
    quiet = played(scene(traffic_manager=STRICT), crowd(15))
    runs = (strict, patient, quiet)
    flips = [sum(check.flips for check in cluster.parts["traffic_manager:main"].checks) for cluster, _ in runs]
    assert flips[0] >= 6
    assert flips[1] == flips[2] == 0
    assert len(health_events(strict[1])) == flips[0]
    away = [cluster.front.away for cluster, _ in (strict, patient)]  # type: ignore[attr-defined]
    assert away[0] > 10 * (away[1] + 1)


def lose_eu(cluster: Cluster) -> None:
    for engine in cluster.regions[0].engines:
        engine.blockers.add("gone")
        engine.lose()


def test_a_shallow_probe_sees_nothing_of_dead_replicas_and_a_deep_one_does() -> None:
    def turned_away(path: str) -> tuple[int, list[str]]:
        policy = {**QUICK, "probe_path": path}
        _, memory = played(scene(traffic_manager=policy), talk(300, [(0, 190)]), at=(60, lose_eu))
        late = [r for r in memory.attempts if r.start_ns > 70 * SECOND and r.attempt.cohort.name == "chat"]
        return sum(r.outcome == "rejected" for r in late), health_events(memory)

    shallow, silence = turned_away("shallow")
    deep, told = turned_away("deep")
    assert shallow > 40
    assert silence == []
    assert deep == 0
    assert len(told) == 1 and "eu unhealthy" in told[0]


def test_stale_health_and_long_lived_answers_send_users_to_a_dead_region() -> None:
    def failed(**policy: float) -> int:
        _, memory = played(scene(traffic_manager={**QUICK, **policy}, actions=[down("eu", 60)]), talk(1_500, [(0, 190)]))
        return sum(record.outcome == "error" for record in memory.attempts)

    fresh, stale, cached = failed(), failed(health_delay_s=80), failed(dns_ttl_s=120)
    assert 0 < fresh < 40
    assert stale > 3 * fresh
    assert cached > 3 * fresh


def test_a_return_at_once_overloads_and_a_ramp_does_not() -> None:
    """After two minutes away the region comes back: its queue, with all users at once and with a ramp."""

    def longest_queue(ramp_s: float) -> int:
        policy = {**QUICK, "hold_down_s": 0, "return_ramp_s": ramp_s, "rise": 1}
        regions = [{"name": "eu", "users": 8}, {"name": "us", "users": 1}, {"name": "asia", "users": 1}]
        # Conversations of the region's users go on all the time; what they said meanwhile is in no cache of theirs.
        turns = talk(160, [(0, 30), (30, 60), (60, 90), (90, 120), (130, 142)], blocks=40, more=30, output=20)
        scenario = scene(traffic_manager=policy, regions=regions, actions=[down("eu", 10, 128)])
        _, memory = played(scenario, turns)
        return max(record.waiting for number, record in memory.steps if number == 0 and record.start_ns > 128 * SECOND)

    at_once, ramped = longest_queue(0), longest_queue(60)
    assert at_once > 20
    assert ramped < at_once / 2


def test_a_split_view_sends_conversations_back_and_forth() -> None:
    """A slow link: each manager misses the other's region. Seen from one place alone, nothing is split."""
    turns = talk(120, [(0, 40), (40, 80), (80, 120), (120, 190)])
    links = [{"between": ["eu", "us"], "latency_ms": 1_200}, {"between": ["eu", "asia"]}, {"between": ["us", "asia"]}]

    def hit_share(managers: int, slow: list[dict[str, Any]]) -> tuple[float, Cluster]:
        policy = {**QUICK, "managers": managers, "return_ramp_s": 0}
        cluster, memory = played(scene(traffic_manager=policy, links=slow), turns)
        late = [s for s in memory.done if s.arrival.at_ns > 80 * SECOND]
        return sum(s.hit_blocks or 0 for s in late) / sum(len(s.arrival.blocks) for s in late), cluster

    split, cluster = hit_share(2, links)
    views = [measured(cluster.parts[f"traffic_manager:main-{i}"], "flashover:region_healthy") for i in (0, 1)]
    assert views[0]["us"] == 0.0 != views[0]["eu"]
    assert views[1]["eu"] == 0.0 != views[1]["us"]
    whole, _ = hit_share(2, [{**link, "latency_ms": 10} for link in links])
    assert whole > 0.75
    assert split < whole - 0.1


def test_balancing_by_load_evens_out_and_swings_when_its_reports_are_old() -> None:
    regions = [{"name": "eu", "users": 6}, {"name": "us", "users": 1}, {"name": "asia", "users": 1}]

    def spread(*actions: dict[str, Any], **policy: Any) -> tuple[float, float]:
        """The largest region's share of attempts, and how much the weight of the first region moved about late."""
        scenario = scene(
            traffic_manager={**QUICK, "balance_interval_s": 4, **policy}, regions=regions, duration_s=400,
            actions=list(actions),
        )
        weights: list[float] = []

        def watch(cluster: Cluster) -> None:
            weights.append(cluster.parts["traffic_manager:main"].weights.weights[0])
            cluster.loop.call_at_ns(cluster.loop.now_ns + 2 * SECOND, watch, cluster)

        cluster, _ = played(scenario, talk(1_500, [(0, 390)], output=40), at=(200, watch))
        sent: list[int] = cluster.front.sent  # type: ignore[attr-defined]
        return max(sent) / sum(sent), max(weights) - min(weights)

    home, _ = spread()
    fresh, calm = spread(balance="load")
    _, swinging = spread(balance="load", health_delay_s=60)
    assert home > 0.65
    assert fresh < 0.5
    assert swinging > 1.5 * calm
    switch = {"at_s": 0, "until_s": "end", "do": "set", "target": "traffic_manager:main", "key": "balance"}
    assert spread({**switch, "value": "load"}) == pytest.approx((fresh, calm), rel=0.1)
    assert spread({**switch, "value": "load", "until_s": 100})[0] > (home + fresh) / 2


def test_a_lossy_or_broken_link_is_felt_by_users_away_from_home() -> None:
    links = [{"between": ["eu", "us"], "latency_ms": 300}, {"between": ["eu", "asia"], "latency_ms": 300}]
    move = {"at_s": 10, "do": "fail_over", "target": "region:eu"}

    def waits(**action: Any) -> tuple[Counter[str], float]:
        change = [{"at_s": 10, "until_s": "end", "do": "set", "target": f"link:eu-{end}", **action} for end in ("us", "asia")]
        _, memory = played(
            scene(traffic_manager=QUICK, links=links, actions=[move, *(change if action else [])]), talk(100, [(20, 190)])
        )
        ways = [record.phases["gateway_ns"] / SECOND for record in memory.attempts if record.phases["gateway_ns"] > 0.2e9]
        return Counter(record.outcome for record in memory.attempts), max(ways)

    outcomes, way_s = waits()
    assert outcomes == {"ok": 100}
    assert way_s == pytest.approx(0.302, abs=0.005)
    outcomes, way_s = waits(key="loss", value=0.5)
    assert outcomes == {"ok": 100}
    assert way_s > 0.6
    outcomes, _ = waits(key="up", value=False)
    assert outcomes["error"] > 20
    assert outcomes["ok"] > 20
    outcomes, way_s = waits(key="latency_ms", value=900)
    assert way_s == pytest.approx(0.902, abs=0.005)


def test_failing_back_by_hand_brings_users_home() -> None:
    actions = [{"at_s": at, "do": do, "target": "region:eu"} for at, do in ((30, "fail_over"), (90, "fail_back"))]
    _, memory = played(scene(traffic_manager=QUICK, actions=actions), talk(300, [(0, 190)]))
    eu = [r.start_ns / SECOND for r in memory.attempts if r.door == "gateway:eu"]
    assert not [at for at in eu if 30 < at < 90]
    assert [at for at in eu if at < 30] and [at for at in eu if at > 90]


@pytest.mark.parametrize(("tables", "part"), [
    ({"regions": [{"name": "eu"}, {"name": "eu"}]}, "regions.name = 'eu': two regions have it"),
    ({"links": [{"between": ["eu", "mars"]}]}, "there is no region 'mars'; there are: eu, us, asia"),
    ({"links": [{"between": ["eu", "eu"]}]}, "a link needs two different ends"),
    ({"links": [{"between": ["eu", "us"]}, {"between": ["us", "eu"]}]}, "there is a link between them already"),
    ({"regions": [], "traffic_manager": {}}, "has nothing to choose from with 0 [[regions]]"),
    ({"regions": [{"name": "eu", "users": 0}, {"name": "us", "users": 0}]}, "no region is anybody's home"),
])
def test_what_cannot_work_is_named(tables: dict[str, Any], part: str) -> None:
    scenario = Scenario.model_validate({"title": "t", "duration_s": 60, "regions": THREE, **tables})
    assert any(part in problem for problem in problems(scenario))
