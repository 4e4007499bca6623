"""Clients: each manner of demand, measured by what arrives, beside the setting without it."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from small_fleet import Memory, made_trace, play, scenario

from instrumented_engine.clients.sources.origin import parameters
from instrumented_engine.cluster import Cluster
from instrumented_engine.rooms import problems
from instrumented_engine.scenario import Scenario

CALM = {"name": "chat", "ttft_timeout_s": 120, "max_retries": 0}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_trace(tmp_path_factory.mktemp("trace") / "t.jsonl", requests=150, seconds=95, prompt=2_000)


def fleet(trace: Path, *cohorts: dict[str, Any], actions: Any = (), **tables: Any) -> tuple[Cluster, Memory]:
    tables = {"cluster": {"replicas": 4}, "duration_s": 100, **tables}
    scene = scenario(trace, cohorts=list(cohorts), actions=list(actions), **tables)
    assert not list(problems(scene))
    return play(scene)


def factor(key: str, value: float) -> dict[str, Any]:
    return {"at_s": 0, "until_s": "end", "do": "set", "target": "cohort:chat", "key": key, "value": value}


def demand(memory: Memory) -> dict[str, float]:
    """Users, requests per user, prompt tokens per request, output tokens per request, of what arrived."""
    records = [r for r in memory.attempts if r.attempt.number == 1]
    users = {r.attempt.arrival.session for r in records}
    return {
        "users": len(users), "turns": len(records) / len(users),
        "prompt": statistics.mean(r.attempt.arrival.prompt_tokens for r in records),
        "output": statistics.mean(r.attempt.arrival.output_tokens for r in records),
    }


def test_four_factors_of_demand_can_be_told_apart(trace: Path) -> None:
    plain = demand(fleet(trace, CALM)[1])
    for key, moved in (("users_factor", "users"), ("turns_factor", "turns"), ("context_factor", "prompt"),
                       ("output_factor", "output")):
        grown = demand(fleet(trace, CALM, actions=[factor(key, 2.0)])[1])
        for name, value in grown.items():
            expected = 2.0 if name == moved else 1.0
            assert value / plain[name] == pytest.approx(expected, rel=0.15), (key, name)
    together = fleet(trace, CALM, actions=[factor(key, 1.5) for key in ("users_factor", "turns_factor", "output_factor")])[1]
    assert demand(together)["users"] > 1.2 * plain["users"]
    assert demand(together)["output"] > 1.3 * plain["output"]


def test_fewer_users_and_clipped_contexts(trace: Path) -> None:
    plain = demand(fleet(trace, CALM)[1])
    half = demand(fleet(trace, CALM, actions=[factor("users_factor", 0.5)])[1])
    assert half["users"] == pytest.approx(plain["users"] / 2, rel=0.25)
    cluster, memory = fleet(trace, CALM, actions=[factor("context_factor", 60.0)])
    clipped = {m.name: m.value for m in cluster.clients.cohorts["chat"].measures()}
    assert clipped["flashover:client_clipped_requests"] > 20
    assert max(r.attempt.arrival.engine_prompt for r in memory.attempts) < 2_048


def test_people_press_reload_until_they_lose_interest(trace: Path) -> None:
    hasty = {"name": "chat", "ttft_timeout_s": 1.5, "max_retries": 0, "give_up": 0.2}
    slow = [
        {"at_s": 20, "until_s": 60, "do": "set", "target": f"replica:r{i}", "key": "speed", "value": 0.02} for i in range(4)
    ]
    cluster, people = fleet(trace, {**hasty, "retry": "refresh"}, actions=slow)
    _, program = fleet(trace, hasty, actions=slow)
    tries = Counter(r.attempt.request_id for r in people.attempts)
    assert max(tries.values()) >= 6, "more than any SDK"
    assert max(Counter(r.attempt.request_id for r in program.attempts).values()) == 1
    assert cluster.clients.cohorts["chat"].refreshes > 20
    assert len(people.attempts) > 1.4 * len(program.attempts)
    key = {"at_s": 0, "until_s": "end", "do": "set", "target": "cohort:chat"}
    campaign, same = fleet(trace, hasty, actions=[*slow, {**key, "key": "retry", "value": "refresh"},
                                                  {**key, "key": "give_up", "value": 0.2}])
    assert [(r.start_ns, r.outcome) for r in same.attempts] == [(r.start_ns, r.outcome) for r in people.attempts]
    assert campaign.clients.cohorts["chat"].refreshes == cluster.clients.cohorts["chat"].refreshes
    _, eager = fleet(trace, hasty, actions=[*slow, {**key, "key": "max_retries", "value": 8}])
    assert 4 <= max(Counter(r.attempt.request_id for r in eager.attempts).values()) <= 9
    well, _ = fleet(trace, {**CALM, "retry": "refresh"})
    assert well.clients.cohorts["chat"].refreshes == 0


def test_a_batch_is_a_step_in_concurrency(trace: Path) -> None:
    batch = {
        "name": "jobs", "tier": "enterprise", "source": "batch", "batch_size": 60, "batch_concurrency": 20,
        "ttft_timeout_s": 300, "prompt_tokens": 2_000, "output_tokens": 200,
    }
    start = {"at_s": 30, "do": "start_batch", "target": "cohort:jobs"}
    _, memory = fleet(trace, CALM, batch, actions=[start])
    jobs = [r for r in memory.attempts if r.attempt.cohort.name == "jobs"]
    assert len(jobs) == 60
    assert min(r.start_ns for r in jobs) >= 30e9
    inside = max(sum(r.start_ns <= other.start_ns < r.end_ns for r in jobs) for other in jobs)
    assert 15 <= inside <= 20
    _, without = fleet(trace, CALM, batch)
    assert {r.attempt.cohort.name for r in without.attempts} == {"chat"}


AGENTS = {"name": "agents", "tier": "agents", "source": "weka_agents", "agents": 6, "ttft_timeout_s": 600, "max_retries": 0}


def agent_fleet(
    trace: Path, speed: float = 1.0, *, subagents: float = 0.0, turns: float = 20.0, switched: float = 0.0
) -> Memory:
    """Prompts at a tenth of their length, so that four small replicas carry them."""
    actions = [
        {"at_s": 0, "until_s": "end", "do": "set", "target": "cohort:agents", "key": key, "value": value}
        for key, value in (("context_factor", 0.1), ("turns_factor", turns), ("subagents", switched or subagents))
    ]
    tables: dict[str, Any] = {
        "duration_s": 300, "replica": {"block_tokens": 1, "speed": speed}, "workload": {"prompt_scale": 1 / 128},
    }
    return fleet(trace, {**AGENTS, "subagents": subagents}, actions=actions, **tables)[1]


def test_agents_share_their_prefixes_and_slow_down_with_the_service(trace: Path) -> None:
    quick, slow = agent_fleet(trace), agent_fleet(trace, 0.15)
    assert len(quick.attempts) > 1.3 * len(slow.attempts), "a closed loop asks less of a slow service"
    done = [s for s in quick.done if s.arrival.at_ns > 60e9]
    share = sum(s.hit_blocks or 0 for s in done) / sum(len(s.arrival.blocks) for s in done)
    assert share > 0.75
    more = agent_fleet(trace, subagents=0.8)
    switched = agent_fleet(trace, switched=0.8)
    assert [r.start_ns for r in switched.attempts] == [r.start_ns for r in more.attempts]
    plain_users, busy_users = (len({r.attempt.arrival.session.removesuffix("-sub") for r in m.attempts}) for m in (quick, more))
    assert len(more.attempts) > 1.4 * len(quick.attempts)
    assert busy_users < 1.3 * plain_users


def test_the_sessions_are_as_real_agents_are() -> None:
    sessions = parameters("weka_agents")
    prompt = sum(call[1] for session in sessions for call in session)
    shared = sum(call[3] * 64 for session in sessions for call in session)
    assert len(sessions) == 16
    assert 0.9 < shared / prompt < 0.98, "96.4 % over all of the source, incident-facts 4"
    assert 40_000 < statistics.median(call[1] for session in sessions for call in session) < 240_000


def test_a_flood_comes_from_users_nobody_knows(trace: Path) -> None:
    bots = {"name": "bots", "source": "flood", "prompt_tokens": 500, "output_tokens": 20, "max_retries": 0}
    attack = {"at_s": 40, "until_s": 60, "do": "set", "target": "cohort:bots", "key": "flood_per_s", "value": 15}
    _, memory = fleet(trace, CALM, bots, actions=[attack])
    flood = [r for r in memory.attempts if r.attempt.cohort.name == "bots"]
    assert len(flood) == pytest.approx(300, rel=0.2)
    assert all(39e9 < r.start_ns < 63e9 for r in flood)
    assert len({r.attempt.arrival.session for r in flood}) == len(flood)
    assert not [r for r in fleet(trace, CALM, bots)[1].attempts if r.attempt.cohort.name == "bots"]


@pytest.mark.parametrize("source", ["servegen_deepseek_r1", "servegen_mm_image"])
def test_servegen_clients_have_the_rates_and_lengths_of_their_parameters(trace: Path, source: str) -> None:
    cohort = {"name": "tenants", "source": source, "rate_factor": 0.3, "max_retries": 0, "ttft_timeout_s": 500}
    tables: dict[str, Any] = {"cluster": {"replicas": 16}, "duration_s": 300}
    _, memory = fleet(trace, cohort, **tables)
    arrived = {r.attempt.arrival.session: r.attempt.arrival for r in memory.attempts}
    clients = parameters(source)
    expected = 0.3 * sum(client["rate_per_s"][0] for client in clients)
    seen = [a.session for a in arrived.values()] + [s.arrival.session for s in memory.done]
    assert len(set(seen)) / 300 == pytest.approx(expected, rel=0.35)
    busiest = max(clients, key=lambda client: client["rate_per_s"][0])
    if "image_tokens" in busiest:
        own = [a.prompt_tokens for a in arrived.values() if a.session.startswith(f"{busiest['client']}-")]
        both = statistics.mean(busiest["text_tokens"]) + statistics.mean(busiest["image_tokens"])
        assert statistics.mean(own) == pytest.approx(both, rel=0.3), "image tokens are prompt tokens"
    else:
        own = [a.output_tokens for a in arrived.values() if a.session.startswith(f"{busiest['client']}-")]
        assert statistics.median(own) == pytest.approx(busiest["output_tokens"][10], rel=0.3)


def test_the_parameters_are_as_the_reference_says() -> None:
    clients = parameters("servegen_deepseek_r1")
    total = [sum(client["rate_per_s"][hour] for client in clients) for hour in range(24)]
    assert statistics.mean(total) == pytest.approx(16.0 * 0.70, rel=0.15), "the top ten of 73 are 67.7 % of 16.0 a second"
    assert max(max(client["cv"]) for client in clients) > 5, "bursts"
    shares = parameters("day6_load")
    assert sum(shares) == pytest.approx(1.0, abs=0.001)
    assert max(shares) * 24 == pytest.approx(1.32, abs=0.01)
    assert min(shares) / max(shares) == pytest.approx(0.207, abs=0.001)


def test_the_day_curve_scales_the_rate(trace: Path) -> None:
    def count(start: str) -> int:
        bots = {"name": "load", "source": "flood", "flood_per_s": 10, "curve": "day6", "prompt_tokens": 300,
                "output_tokens": 8, "max_retries": 0}
        return len(fleet(trace, bots, start=start)[1].attempts)

    night, evening = count("2026-03-29T20:30:00Z"), count("2026-03-29T14:30:00Z")
    assert night / evening == pytest.approx(0.207, rel=0.25), "04:30 and 22:30 in Beijing"


def test_with_a_curve_the_clients_own_day_changes_who_sends_and_not_how_much(trace: Path) -> None:
    def count(hour: int) -> int:
        cohort = {"name": "tenants", "source": "servegen_deepseek_r1", "rate_factor": 0.3, "curve": "day6", "hour": hour,
                  "max_retries": 0, "ttft_timeout_s": 500}  # fmt: skip
        return len(fleet(trace, cohort, cluster={"replicas": 16}, duration_s=300)[1].attempts)

    assert count(12) == pytest.approx(count(22), rel=0.35), "without it 4.2 and 30.5 a second"


def test_a_provider_with_few_cards_saturates_where_a_larger_one_does_not(trace: Path) -> None:
    def longest_wait_s(replicas: int) -> float:
        _, memory = fleet(trace, CALM, cluster={"replicas": replicas}, replica={"max_running": 3})
        return max(r.phases.get("queue_ns", 0) for r in memory.attempts) / 1e9

    assert longest_wait_s(1) > 10 * longest_wait_s(6) + 5


@pytest.mark.parametrize(("cohorts", "part"), [
    ([], "there are none, nobody would come"),
    ([{"name": "a"}, {"name": "a"}], "cohorts.name = 'a': two cohorts have it"),
    ([{"name": "a", "backoff_initial_s": 9}], "is more than backoff_max_s = 8"),
    ([{"name": "a", "source": "flood", "sign_up_share": 0.5}], "only a [chat_tier] takes sign-ups"),
    ([{"name": "a", "curve": "day6"}], "workload has times of its own"),
    ([{"name": "a", "via": "chat"}], "this scenario has no [chat_tier]"),
])
def test_what_cannot_work_is_named(cohorts: list[dict[str, Any]], part: str) -> None:
    scene = Scenario.model_validate({"title": "t", "duration_s": 60, "cohorts": cohorts})
    assert any(part in problem for problem in problems(scene))
