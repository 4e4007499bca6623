"""What clients offer to timed actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from instrumented_engine.clients.live_cohort import CONTEXT, OUTPUT, TURNS, USERS
from instrumented_engine.clients.sources.agents import play_agents
from instrumented_engine.clients.sources.made_up import play_batches, play_flood
from instrumented_engine.clients.sources.origin import Origin
from instrumented_engine.clients.sources.servegen import play_servegen
from instrumented_engine.mechanism import Mechanism, Operation, Room, Switch
from instrumented_engine.scenario import Scenario

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_TEST = "instrumented_engine/test_clients.py::"

MECHANISMS = (
    Mechanism(
        "SDK retries",
        "an attempt that fails is tried again, as the OpenAI SDK does by default: two retries, 0.5 s to 8 s back-off",
        "openai-python defaults; serving-mechanisms 6",
        ("attempt", "flashover:gateway_arrivals"),
        "instrumented_engine/test_cluster.py::test_attempts_never_exceed_the_retry_budget_and_follow_each_other",
        switches=(Switch("clients", "retries_on", flag=True), Switch("cohort", "max_retries", high=20, whole=True)),
        settings=("cohorts.max_retries", "cohorts.ttft_timeout_s"),
    ),
    Mechanism(
        "people who press reload",
        "when nothing comes, people try again by hand, again and again, until they lose interest",
        "incident-facts 1.2 (manual retry as amplifier: DeepSeek-R1#143)",
        ("attempt", "flashover:client_refreshes", "flashover:gateway_arrivals"),
        _TEST + "test_people_press_reload_until_they_lose_interest",
        switches=(
            Switch("cohort", "retry", choices=("sdk", "refresh")), Switch("cohort", "give_up", low=0.001, high=1.0),
        ),
        settings=("cohorts.retry", "cohorts.give_up"),
    ),
    Mechanism(
        "releases that raise users, turns, context, or reasoning",
        "four factors of demand that a release can raise, each by itself or together",
        "incident-facts 2 (demand terms)",
        ("session", "prompt_tokens", "output_tokens", "flashover:gateway_arrivals", "flashover:client_clipped_requests"),
        _TEST + "test_four_factors_of_demand_can_be_told_apart",
        switches=(USERS, TURNS, CONTEXT, OUTPUT),
        settings=("cohorts.share",),
    ),
    Mechanism(
        "enterprise batch",
        "a job that keeps so many requests in flight until all are done: a step in concurrency (made up)",
        "serving-mechanisms 0 (spike of concurrent API requests, hypothesis); Azure code: busiest second 67 times the mean",
        ("cohort", "tier", "flashover:gateway_arrivals", "flashover:gateway_inflight"),
        _TEST + "test_a_batch_is_a_step_in_concurrency",
        switches=(Switch("cohort", "batch_size", low=1, high=1e6, whole=True),),
        operations=(Operation("cohort", "start_batch"),),
        settings=("cohorts.batch_size", "cohorts.batch_concurrency"),
    ),
    Mechanism(
        "agents",
        "closed loops with tool calls, sub-agents and prompts that are nearly all shared with the call before: calls grow "
        "while users stay flat",
        "WEKA Claude Code sessions (96.4 % prefix share), Exgentic (retry gaps); incident-facts 4",
        ("session", "cached_tokens", "prompt_tokens", "flashover:gateway_arrivals"),
        _TEST + "test_agents_share_their_prefixes_and_slow_down_with_the_service",
        switches=(USERS, TURNS, Switch("cohort", "subagents", high=1.0)),
        settings=("cohorts.source", "cohorts.agents", "cohorts.subagents"),
    ),
    Mechanism(
        "botnet",
        "a flood of requests, each from a user of its own, and of sign-ups (made up)",
        "incident-facts 1.2 (attacks of January 2025)",
        ("session", "flashover:gateway_arrivals", "flashover:chat_sign_ups"),
        _TEST + "test_a_flood_comes_from_users_nobody_knows",
        switches=(Switch("cohort", "flood_per_s", high=1e6),),
        settings=("cohorts.flood_per_s", "cohorts.sign_up_share"),
    ),
    Mechanism(
        "real multi-tenant load: DeepSeek-R1 and image clients",
        "twelve real clients each with their bursts, hours and lengths; image tokens are prefill",
        "ServeGen (arXiv 2505.09999); incident-facts 4",
        ("prompt_tokens", "output_tokens", "flashover:gateway_arrivals"),
        _TEST + "test_servegen_clients_have_the_rates_and_lengths_of_their_parameters",
        switches=(USERS,),
        settings=("cohorts.source", "cohorts.rate_factor", "cohorts.hour"),
    ),
    Mechanism(
        "the day's load curve",
        "load follows DeepSeek's day: peak over mean 1.32, trough over peak 0.21",
        "DeepSeek day 6 (incident-facts 2)",
        ("flashover:gateway_arrivals",),
        _TEST + "test_the_day_curve_scales_the_rate",
        settings=("cohorts.curve",),
    ),
    Mechanism(
        "third-party provider with few cards",
        "the same clients, a fleet that is too small for them: it saturates where a larger one does not",
        "serving-mechanisms 1 (load of a fleet worked out)",
        ("queue_ns", "vllm:num_requests_waiting", "outcome"),
        _TEST + "test_a_provider_with_few_cards_saturates_where_a_larger_one_does_not",
        settings=("cluster.replicas", "regions.replicas"),
    ),
)


def entities(scenario: Scenario) -> Iterator[str]:
    """All clients together, and each cohort."""
    yield "clients"
    yield from (f"cohort:{cohort.name}" for cohort in scenario.cohorts)


def problems(scenario: Scenario) -> Iterator[str]:
    """Cohorts that cannot be."""
    names = [cohort.name for cohort in scenario.cohorts]
    if not names:
        yield "cohorts: there are none, nobody would come; add one"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"cohorts.name = {name!r}: two cohorts have it; give each a name of its own"
    for number, cohort in enumerate(scenario.cohorts):
        where = f"cohorts.{number}"
        if cohort.backoff_initial_s > cohort.backoff_max_s:
            yield (f"{where}.backoff_initial_s = {cohort.backoff_initial_s:g}: is more than backoff_max_s = "
                   f"{cohort.backoff_max_s:g}; give less")
        if cohort.sign_up_share and scenario.chat_tier is None:
            yield f"{where}.sign_up_share = {cohort.sign_up_share:g}: only a [chat_tier] takes sign-ups; add one"
        if cohort.curve and cohort.source in ("workload", "batch", "weka_agents"):
            yield f"{where}.curve = {cohort.curve!r}: {cohort.source} has times of its own; use a servegen source or flood"


def install(cluster: Cluster) -> None:
    """Let cohorts with a source of their own begin."""
    scenario = cluster.scenario
    sign_up = getattr(cluster.parts.get("service:chat"), "sign_up", None)
    for name, cohort in cluster.clients.cohorts.items():
        cluster.add(f"cohort:{name}", cohort, cohort.measures)
        origin = Origin(
            cluster.clients, cohort, cluster.loop, scenario.workload, scenario.replica.block_tokens,
            cluster.runner.shape.context, cluster.random(f"source:{name}"), scenario.beijing_hour,
        )
        match cohort.settings.source:
            case "servegen_deepseek_r1" | "servegen_mm_image":
                cluster.spawn(play_servegen(origin))
            case "weka_agents":
                cluster.spawn(play_agents(origin))
            case "batch":
                cluster.spawn(play_batches(origin))
            case "flood":
                cluster.spawn(play_flood(origin, sign_up))
            case _:
                pass


ROOM = Room(MECHANISMS, install, entities, problems)
