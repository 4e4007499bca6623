"""The impact: nothing is lost in counting, phases tile it, noise makes none, and what is known of an outage is found."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_tables import MemoryTables

from analysis.board import Bins
from analysis.impact import (
    DEGRADED_SHARE,
    Finding,
    Users,
    chance,
    choose_bins,
    find_impact,
    find_stretches,
    load_users,
)
from analysis.investigation import Phase

S = 1_000_000_000
START = 1_700_000_000 * S


def users_of(bad: Any, *, rate: float = 4.0, seconds: float = 900.0, seed: int = 0, start: int = START) -> Users:
    """Requests at ``rate`` a second; ``bad(second)`` is the probability of none of the attempts being answered."""
    random = np.random.default_rng(seed)
    at = np.sort(random.uniform(0, seconds, random.poisson(rate * seconds)))
    answered = random.random(len(at)) >= np.array([bad(second) for second in at])
    wait = np.where(answered, random.lognormal(0.0, 0.4, len(at)), math.nan)
    return Users(start + (at * S).astype(np.int64), answered, wait, np.full(len(at), 2.0), np.ones(len(at), bool))


def found_in(users: Users, seconds: float = 900.0, start: int = START) -> Finding:
    return find_impact(users, choose_bins(users, start, start + round(seconds * S)))


def outage(first: float, last: float, share: float = 0.9) -> Any:
    return lambda second: share if first <= second < last else 0.005


@given(st.lists(st.floats(0, 1), min_size=3, max_size=12), st.integers(0, 5), st.floats(0.3, 8))
def test_every_request_is_counted_once_and_phases_tile_the_impact(shares: list[float], seed: int, rate: float) -> None:
    users = users_of(lambda second: shares[int(second / 900 * len(shares))], rate=rate, seed=seed)
    found = found_in(users)
    assert sum(one.requests for one in found.impact.goodput) == len(users.begun)
    assert all(0 <= one.good <= one.requests for one in found.impact.goodput)
    phases, impact = found.impact.phases, found.impact
    assert (impact.start is None) == (impact.end is None) == (not phases)
    if phases:
        assert phases[0].start == impact.start
        assert all(one.end == other.start and one.state != other.state for one, other in itertools.pairwise(phases))
        assert phases[-1].end == START + 900 * S
        assert all(phase.start < phase.end for phase in phases)
        assert [phase.end for phase in phases if phase.state != "over"][-1] == impact.end
        assert 0 < impact.bad_request_share <= 1


@pytest.mark.parametrize("lasting", [8, 12, 20])
def test_a_stretch_of_a_few_bins_has_phases_of_its_own_length(lasting: int) -> None:
    impact = found_in(users_of(outage(400, 400 + lasting, 1.0), rate=20.0)).impact
    bad = [phase for phase in impact.phases if phase.state != "over"]
    assert impact.end is not None and bad[-1].end == impact.end <= START + (410 + lasting) * S


@pytest.mark.parametrize("share", [0.0, 0.01, 0.03])
def test_noise_at_a_steady_low_share_is_no_incident(share: float) -> None:
    found = [found_in(users_of(lambda _: share, seed=seed)).stretches for seed in range(40)]
    assert found == [()] * 40


@settings(derandomize=True)
@given(st.floats(150, 500), st.floats(60, 300), st.integers(0, 20), st.sampled_from([1.5, 4.0, 12.0]))
def test_a_known_outage_is_found_where_it_is(first: float, lasting: float, seed: int, rate: float) -> None:
    users = users_of(outage(first, first + lasting), rate=rate, seed=seed)
    found = found_in(users)
    width = choose_bins(users, START, START + 900 * S).width_ns / S
    assert len(found.stretches) == 1
    assert found.impact.start is not None and found.impact.end is not None
    assert abs(found.impact.start - START - first * S) <= (width + 10) * S
    assert abs(found.impact.end - START - (first + lasting) * S) <= (2 * width + 10) * S
    assert "outage" in [phase.state for phase in found.impact.phases]


def test_a_share_that_wavers_about_the_threshold_makes_one_stretch() -> None:
    wavering = np.array([DEGRADED_SHARE * 100 * (1.4 if i % 80 < 40 else 0.6) for i in range(200)])
    bad = np.concatenate([np.zeros(200), wavering, np.zeros(200)])
    ((first, last),) = find_stretches(np.full(600, 100.0), bad, 5.0)
    assert first == 200 and 394 <= last <= 400


def states(phases: tuple[Phase, ...]) -> list[str]:
    return [phase.state for phase in phases if phase.state != "degraded"]


@pytest.mark.parametrize(("pause", "expected"), [
    (200.0, ["outage", "recovered", "relapse", "over"]), (60.0, ["outage", "over"]),
])  # fmt: skip
def test_service_for_two_minutes_between_two_outages_makes_the_second_a_relapse(pause: float, expected: list[str]) -> None:
    twice = [outage(200, 320, 0.95), outage(320 + pause, 440 + pause, 0.95)]
    found = found_in(users_of(lambda second: max(bad(second) for bad in twice)))
    merged = [state for i, state in enumerate(states(found.impact.phases))
              if i == 0 or state != states(found.impact.phases)[i - 1]]
    assert merged == expected


def test_service_begins_to_be_bad_in_the_first_bad_bin_and_not_before() -> None:
    bad = np.where((np.arange(120) >= 60) & (np.arange(120) < 90), 60.0, 1.0)
    assert find_stretches(np.full(120, 100.0), bad, 5.0) == [(60, 90)]


def test_stretches_know_what_was_lost_and_whether_they_were_outages() -> None:
    found = found_in(users_of(lambda second: 0.2 if 100 <= second < 420 else 0.95 if 600 <= second < 760 else 0.0))
    first, second = found.stretches
    assert first[1] - first[0] > second[1] - second[0] and found.lost(second) > found.lost(first)
    assert found.is_outage(second) and not found.is_outage(first)
    assert found.outage_begin(second) - second[0] <= 2 and found.outage_begin(first) == first[0]


def test_silence_is_no_recovery() -> None:
    users = users_of(outage(200, 700, 1.0))
    at = (users.begun - START) / S
    heard = (at < 300) | (at > 560)
    columns = (users.begun, users.answered, users.wait_s, users.failed_s, users.decided)
    found = found_in(Users(*(column[heard] for column in columns)))
    assert states(found.impact.phases) == ["outage", "over"]


def test_an_outage_that_lasts_to_the_end_of_the_telemetry_is_not_over() -> None:
    users = users_of(outage(600, 900, 1.0))
    open_end = (users.begun - START) / S < 850
    found = found_in(Users(users.begun, users.answered, users.wait_s, users.failed_s, open_end | users.answered))
    assert states(found.impact.phases) == ["outage"]
    assert found.impact.end == START + 900 * S


def test_a_request_without_an_answer_is_bad_when_the_limit_of_the_wait_has_passed() -> None:
    users = users_of(outage(600, 900, 1.0))
    undecided = Users(users.begun, users.answered, users.wait_s, users.failed_s, users.answered)
    known, open_end = found_in(users), found_in(undecided)
    assert open_end.impact.start == known.impact.start
    assert 0 < known.requests.sum() - open_end.requests.sum() < 30 * 4


def test_late_answers_are_bad() -> None:
    users = users_of(lambda _: 0.0)
    at = (users.begun - START) / S
    late = np.where((at > 300) & (at < 500), 60.0, users.wait_s)
    assert len(found_in(Users(users.begun, users.answered, late, users.failed_s, users.decided)).stretches) == 1


@settings(max_examples=15)
@given(st.integers(-10**9, 10**9).filter(lambda seconds: seconds != 0))
def test_a_shifted_epoch_shifts_the_phases_and_nothing_else(seconds: int) -> None:
    here = found_in(users_of(outage(300, 500)))
    there = found_in(users_of(outage(300, 500), start=START + seconds * S), start=START + seconds * S)
    assert [(p.state, p.start + seconds * S, p.end + seconds * S) for p in here.impact.phases] == [
        (p.state, p.start, p.end) for p in there.impact.phases
    ]


def tail(count: int, mean: float) -> float:
    """P(at least ``count``), term by term."""
    return 1.0 - sum(math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(count))


@given(st.integers(1, 400), st.floats(0.01, 200))
def test_chance_bounds_the_poisson_tail_and_is_no_coarser_than_it_must_be(count: int, mean: float) -> None:
    bound, exact = float(chance(np.array([float(count)]), np.array([mean]))[0]), tail(count, mean)
    assert bound >= exact - 1e-9
    if count > mean and exact > 1e-9:
        assert bound <= exact * 4 * math.sqrt(count) * max(1.0, count / mean)


def test_a_large_fleet_s_outage_is_no_chance() -> None:
    requests = np.full(100, 40_000.0)
    bad = np.where((np.arange(100) >= 50) & (np.arange(100) < 70), 0.5, 0.05) * requests
    assert [abs(first - 50) <= 2 and abs(last - 70) <= 2 for first, last in find_stretches(requests, bad, 5.0)] == [True]


@given(st.integers(1, 4000), st.integers(1, 20_000))
def test_bins_tile_the_window(requests: int, seconds: int) -> None:
    users = Users(*(np.zeros(requests, kind) for kind in (np.int64, bool, float, float, bool)))
    bins = choose_bins(users, START, START + seconds * S)
    edges = [bins.at(i) for i in range(bins.count + 1)]
    assert edges[0] == START and edges[-1] == START + seconds * S
    assert all(low < high for low, high in itertools.pairwise(edges))
    assert all(high - low < 2 * bins.width_ns for low, high in itertools.pairwise(edges)) or bins.count == 1
    assert all(bins.index(at) == i for i, at in enumerate(edges[:-1]))
    assert 5 * S <= bins.width_ns <= 60 * S


def attempts(*rows: tuple[int, int, float, float, str]) -> MemoryTables:
    """(request, attempt, arrival, end, outcome), times in seconds."""
    request, attempt, arrival, end, outcome = zip(*rows, strict=True)
    return MemoryTables({"requests": {
        "trace_hi": [1] * len(rows), "trace_lo": request, "request_id": [f"q{one}" for one in request], "attempt": attempt,
        "arrival_ns": [START + round(at * S) for at in arrival], "end_ns": [START + round(at * S) for at in end],
        "span_id": list(range(len(rows))), "outcome": outcome,
        "ttft_ns": [S if one == "ok" else None for one in outcome],
    }})  # fmt: skip


def test_all_attempts_of_a_user_are_one_request() -> None:
    tables = attempts(
        (1, 1, 0, 10, "timeout"), (1, 2, 11, 15, "ok"), (2, 1, 3, 9, "ok"), (3, 2, 5, 9, "ok"), (4, 1, 20, 30, "timeout"),
        (5, 1, 96, 99, "timeout"), (6, 1, 50, 60, "timeout"), (6, 2, 62, 66, "timeout"),
    )  # fmt: skip
    users = load_users(tables, START, START + 100 * S)
    rows = list(zip(((users.begun - START) / S).tolist(), users.answered.tolist(), users.decided.tolist(), strict=True))
    assert rows == [
        (0.0, True, True), (3.0, True, True),  # the third began before the telemetry
        (20.0, False, True), (50.0, False, True), (96.0, False, False),  # the last may be retried yet
    ]  # fmt: skip
    assert users.wait_s[0] == 12.0


def test_bins_are_as_wide_as_traffic_is_thin() -> None:
    assert [choose_bins(users_of(lambda _: 0, rate=rate), START, START + 900 * S).width_ns // S for rate in (9, 1.9, 0.1)] == [
        5, 15, 60,
    ]  # fmt: skip


def test_a_bin_knows_the_end_of_the_window() -> None:
    bins = Bins(START, START + 23 * S, 5 * S)
    assert bins.count == 4 and bins.at(4) == bins.end_ns
