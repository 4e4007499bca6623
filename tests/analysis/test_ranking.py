"""Ranking on scenes made by hand, where each rule of it can be seen alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_scenes import FIRST, RELATIONS, REPLICAS, at, made_scene
from simulated_tables import COHORT, GATEWAY, INDEX, ROUTER

from analysis import cascade
from analysis.cascade import trace_cascade
from analysis.loops import find_loops
from analysis.posterior import CHANGE_BONUS, Hypothesis, rank
from analysis.scene import Scene
from analysis.triggers import name_triggers

LAG, COST, FRESH = ("kv_index.lag", INDEX), ("replica.step_cost", REPLICAS[1]), ("demand.fresh", COHORT)
CAUSES = {LAG: ("kv_sync_bottleneck", INDEX), COST: ("slow_replica", REPLICAS[1]), FRESH: ("external_load", COHORT)}


def of(scene: Scene, mechanism: str, entity: str | None = None) -> Hypothesis:
    return next(h for h, _ in rank(scene) if h.mechanism.name == mechanism and entity in (None, h.entity))


def order(scene: Scene) -> list[tuple[str, str]]:
    return [(h.mechanism.name, h.entity) for h, _ in rank(scene)]


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("size", [1.2, 3.0, 9.0])
def test_a_signature_before_the_impact_is_the_first_answer(cause: tuple[str, str], size: float) -> None:
    with_it = {("demand.users", COHORT): (size, 110), ("demand.tokens", COHORT): (size, 110)} if cause == FRESH else {}
    (best, probability), *_ = rank(made_scene({cause: (size, 110), **with_it}))
    assert (best.mechanism.name, best.entity) == CAUSES[cause]
    assert probability > 0.4 and best.signature.found is not None and best.signature.state == "there"


@settings(derandomize=True, max_examples=25)
@given(st.dictionaries(st.sampled_from(list(CAUSES)), st.floats(1.05, 1.6), min_size=2),
       st.lists(st.tuples(st.integers(60, 125), st.sampled_from(["deploy", "rebalance", "config_change"]),
                          st.sampled_from([INDEX, REPLICAS[1], REPLICAS[2], GATEWAY, ""])), max_size=6))
def test_however_close_they_are_changes_do_not_swap_hypotheses(
    sizes: dict[tuple[str, str], float], log: list[tuple[int, str, str]]
) -> None:
    steps = {cause: (size, 110) for cause, size in sizes.items()}
    blind, seeing = made_scene(steps), made_scene(steps, [at(*line) for line in sorted(log)])
    assert order(blind) == order(seeing)
    scores = {(h.mechanism.name, h.entity): h.score for h, _ in rank(blind)}
    gained = [h.score - scores[h.mechanism.name, h.entity] for h, _ in rank(seeing)]
    assert all(-1e-9 <= gain <= CHANGE_BONUS + 1e-9 for gain in gained)


def test_a_change_counts_at_its_place_in_its_time_and_of_its_kind() -> None:
    steps = {LAG: (4.0, 110)}
    fitting, *others = (
        of(made_scene(steps, [change]), "kv_sync_bottleneck").case.change
        for change in (at(108, "rebalance", INDEX), at(108, "rebalance", REPLICAS[0]), at(140, "rebalance", INDEX),
                       at(108, "load_shed", INDEX))
    )  # fmt: skip
    assert fitting == at(108, "rebalance", INDEX)
    assert others == [None, None, None]


def test_what_all_replicas_share_sets_none_apart() -> None:
    alone = of(made_scene({COST: (3.0, 110)}), "slow_replica", REPLICAS[1])
    together = of(made_scene({("replica.step_cost", one): (3.0, 110) for one in REPLICAS}), "slow_replica", REPLICAS[1])
    assert alone.strength > 0.8 and together.strength == 0.0
    assert together.signature.state == "absent"


def test_a_signal_that_was_not_measured_speaks_neither_for_nor_against() -> None:
    steps = {("router.predicted", ROUTER): (-3.0, 110), ("router.unpredicted", ROUTER): (3.0, 110)}
    absent, unknown = (
        of(made_scene(steps, without=names), "kv_sync_bottleneck") for names in ([], ["kv_index.lag"])
    )
    assert not unknown.signature.known and absent.signature.state == "absent"
    assert unknown.score > absent.score + 1
    silent = of(made_scene({LAG: (3.0, 110)}, without=["router.predicted"]), "kv_sync_bottleneck")
    assert silent.score > of(made_scene({LAG: (3.0, 110)}), "kv_sync_bottleneck").score


def test_a_contradiction_weakens_and_a_symptom_strengthens() -> None:
    rejected = ("gateway.rejected", GATEWAY)
    bare = of(made_scene({rejected: (4.0, 110)}), "admission_rejection").score
    with_queues = made_scene({rejected: (4.0, 110), ("replica.waiting", REPLICAS[0]): (4.0, 110)})
    assert of(with_queues, "admission_rejection").score < bare - 1
    lag = of(made_scene({LAG: (4.0, 110)}), "kv_sync_bottleneck").score
    assert of(made_scene({LAG: (4.0, 110), ("router.unpredicted", ROUTER): (4.0, 110)}), "kv_sync_bottleneck").score > lag + 1


def test_a_symptom_that_surely_began_before_its_cause_is_as_good_as_absent() -> None:
    symptom = ("router.unpredicted", ROUTER)
    after, before, never = (
        of(made_scene({LAG: (4.0, 110), **steps}), "kv_sync_bottleneck").score
        for steps in ({symptom: (4.0, 112)}, {symptom: (4.0, 96)}, {})
    )
    assert before == never < after


def test_who_began_surely_after_another_one_may_be_its_consequence() -> None:
    apart, together = made_scene({LAG: (4.0, 98), COST: (4.0, 112)}), made_scene({LAG: (4.0, 112), COST: (4.0, 112)})
    gain = [of(apart, name).score - of(together, name).score for name in ("kv_sync_bottleneck", "slow_replica")]
    assert gain[0] >= 0.0 and gain[1] < -1.0


def test_an_entity_that_nothing_leads_from_to_users_is_hardly_the_cause() -> None:
    cut = frozenset({*(pair for pair in RELATIONS if REPLICAS[1] not in pair), (REPLICAS[1], "host:spare")})
    scores = [of(made_scene({COST: (4.0, 110)}, relations=r), "slow_replica", REPLICAS[1]).score for r in (RELATIONS, cut)]
    assert scores[1] < scores[0] - 2
    unknown = of(made_scene({COST: (4.0, 110)}, relations=frozenset()), "slow_replica", REPLICAS[1]).score
    assert unknown == scores[0]


def test_a_cause_may_show_a_little_after_users_felt_it_but_not_long_after() -> None:
    for begin, state in ((FIRST + 3, "there"), (FIRST + 30, "late")):
        assert of(made_scene({LAG: (4.0, begin)}), "kv_sync_bottleneck").signature.state == state


def test_what_rose_slowly_from_before_the_impact_is_not_called_late() -> None:
    scene = made_scene({LAG: (4.0, FIRST)})
    series = scene.board["kv_index.lag"][INDEX]
    series.num[:] = 10 * (2.0 + np.clip((np.arange(len(series.num)) - FIRST + 10) / 20, 0, 3))
    slow = of(scene, "kv_sync_bottleneck").signature
    assert slow.found is not None and slow.state == "there"


def test_a_hypothesis_whose_signature_was_seen_not_to_move_is_not_shown() -> None:
    steps = {("router.predicted", ROUTER): (-5.0, 110), ("router.unpredicted", ROUTER): (5.0, 110),
             ("kv_index.backlog", INDEX): (5.0, 110)}  # fmt: skip
    scene = made_scene(steps)
    assert of(scene, "kv_sync_bottleneck").signature.state == "absent"
    assert "kv_sync_bottleneck" not in {one.mechanism for one in name_triggers(scene, rank(scene))}


def test_the_way_to_users_is_walked_in_the_order_of_onsets() -> None:
    steps = {LAG: (4.0, 110), ("router.unpredicted", ROUTER): (4.0, 113), ("replica.hit", REPLICAS[0]): (-3.0, 116),
             ("replica.hit", REPLICAS[2]): (-3.0, 104), ("gateway.wait", GATEWAY): (4.0, 118)}  # fmt: skip
    relations = RELATIONS | {(GATEWAY, REPLICAS[0]), (GATEWAY, REPLICAS[2])}
    scene = made_scene(steps, relations=relations)
    edges = [(edge.from_, edge.to) for edge in trace_cascade(scene, of(scene, "kv_sync_bottleneck"))]
    assert edges == [(INDEX, ROUTER), (ROUTER, REPLICAS[0]), (REPLICAS[0], GATEWAY), (GATEWAY, COHORT)]


@pytest.mark.parametrize("most", REPLICAS)
def test_who_shows_it_most_stands_for_those_alike_whatever_it_is_called(most: str) -> None:
    steps = {("replica.evicted", one): (6.0 if one == most else 4.0, 110) for one in REPLICAS}
    best = of(made_scene(steps), "kv_eviction_storm")
    assert best.entity == most
    assert best.also == tuple(one for one in REPLICAS if one != most)


@pytest.mark.parametrize("nearest", REPLICAS)
def test_what_is_ruled_out_is_ruled_out_on_the_entity_nearest_to_it(nearest: str) -> None:
    """Both where one stands for all (evictions) and where one is set apart from its peers (slow replicas)."""
    steps = {("replica.evicted", nearest): (0.2, 60), ("replica.step_cost", nearest): (0.2, 60)}
    scene = made_scene({**steps, LAG: (4.0, 110)})
    for mechanism in ("kv_eviction_storm", "slow_replica"):
        hypothesis = of(scene, mechanism)
        assert (hypothesis.entity, hypothesis.signature.state) == (nearest, "absent")
        assert 0 < hypothesis.signature.effect < 0.5


def test_of_equals_a_change_helps_the_second_as_much_as_the_first() -> None:
    steps = {("replica.step_cost", one): (4.0, 110) for one in REPLICAS[1:3]}
    blind = made_scene(steps)
    assert of(blind, "slow_replica", REPLICAS[1]).score == of(blind, "slow_replica", REPLICAS[2]).score
    gains = [
        of(made_scene(steps, [at(108, "config_change", one)]), "slow_replica", one).score - of(blind, "slow_replica", one).score
        for one in REPLICAS[1:3]
    ]
    assert gains[0] == gains[1] > 0


def test_of_stations_that_show_it_as_early_the_most_deviating_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade, "WIDEST", 1)
    for most in REPLICAS:
        steps = {("replica.hit", one): (-6.0 if one == most else -4.0, 116) for one in REPLICAS}
        scene = made_scene({LAG: (4.0, 110), ("router.unpredicted", ROUTER): (4.0, 113), **steps})
        edges = {(edge.from_, edge.to) for edge in trace_cascade(scene, of(scene, "kv_sync_bottleneck"))}
        assert {to for from_, to in edges if from_ == ROUTER} == {most}


@pytest.mark.parametrize("most", ["cohort:a", "cohort:z"])
def test_a_loop_is_told_of_whoever_shows_it_most(most: str) -> None:
    scene = made_scene({("client.refreshes", COHORT): (6.0, 110)})
    large = scene.board["client.refreshes"][COHORT]
    small = made_scene({("client.refreshes", COHORT): (3.0, 110)}).board["client.refreshes"][COHORT]
    source = large.signal.metrics[0]
    of_entity = {one: replace(large if one == most else small, entity=one, source=source) for one in ("cohort:a", "cohort:z")}
    both = replace(scene, board={**scene.board, "client.refreshes": of_entity}, entities=(*scene.entities, *of_entity))
    amplifiers, _ = find_loops(both, None)
    assert [(loop.mechanism, loop.entity) for loop in amplifiers] == [("reload_storm", most)]
