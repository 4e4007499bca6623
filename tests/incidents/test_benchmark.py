"""The benchmark: ties are strict, intervals hold the mean, a killed sweep goes on, and baselines find a planted culprit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collectors.errors import BadInput
from incidents.benchmark.baselines import BASELINES
from incidents.benchmark.cases import Case, grid, smoke
from incidents.benchmark.observed import Observed, filled
from incidents.benchmark.outcome import OURS, alike_as_one, culprits
from incidents.benchmark.report import curve_table, curves
from incidents.benchmark.scores import accuracy_at, interval, onset_error_s, path_f1, strict_rank
from incidents.benchmark.sweep import read_results, sweep


def test_ties_count_against_the_method() -> None:
    ranking = [("a", 2.0), ("b", 1.0), ("c", 1.0)]
    assert [strict_rank(ranking, name) for name in "abcd"] == [1, 3, 3, float("inf")]
    assert accuracy_at(ranking, ["a", "b"], 1) == 1.0
    assert accuracy_at(ranking, ["a", "b"], 2) == 0.5
    assert accuracy_at(ranking, ["a", "b"], 3) == 1.0


def test_an_interval_holds_its_mean_and_nothing_has_none() -> None:
    mean, low, high = interval([0.0, 1.0, 1.0, float("nan")])
    assert low <= mean <= high
    assert mean == pytest.approx(2 / 3)
    assert all(np.isnan(interval([])))


def test_gaps_hold_the_value_before_them() -> None:
    nan = float("nan")
    assert filled(np.array([[nan, nan], [1.0, nan], [nan, nan]])).tolist() == [[1.0, 0.0]] * 3


def planted() -> Observed:
    """``replica:b`` leaves first and furthest; ``gateway:g`` calls it and follows; ``replica:a`` is as ever."""
    luck = np.random.default_rng(1)
    values = luck.normal(10, 1, (60, 3))
    values[38:, 1] += 60
    values[42:, 2] += 20
    metrics = (("replica:a", "m"), ("replica:b", "m"), ("gateway:g", "m"))
    calls = frozenset({("gateway:g", "replica:a"), ("gateway:g", "replica:b")})
    return Observed(values, metrics, 38, calls, ("gateway:g", "replica:a", "replica:b"), "gateway:g")


@pytest.mark.parametrize("name", ["earliest onset", "loudest anomaly", "N-Sigma", "graph traversal"])
def test_a_planted_culprit_is_found(name: str) -> None:
    assert BASELINES[name](planted())[0][0] == "replica:b"


def answered(*triggers: str, sustainers: tuple[str, ...] = (), abstained: bool = False) -> dict[str, Any]:
    """A row of results whose truth is a KV index behind, kept down by retries."""
    named = [{"entity": "kv_index:main", "mechanism": one, "equivalent_to": [], "probability": 0.9, "onset_s": [240.0, 250.0]}
             for one in triggers]  # fmt: skip
    method = {"ranking": [[one["entity"], one["probability"]] for one in named], "cpu_s": 0.1}
    return {
        "name": "x", "state": "outage", "blemish": "", "entities": ["kv_index:main", "router:main"],
        "truth": {"entities": ["kv_index:main"], "also": [[]], "mechanisms": ["kv_sync_bottleneck"],
                  "onset_s": [[240.0, 245.0]], "amplifiers": [], "sustainers": ["retry_storm"], "ill_s": [270.0]},
        "answer": {"abstained": abstained, "triggers": named, "bad_s": [], "amplifiers": [], "sustainers": list(sustainers)},
        "methods": dict.fromkeys((OURS, *BASELINES), method),
    }  # fmt: skip


def test_the_way_of_an_outage_is_its_mechanisms_with_their_roles() -> None:
    assert path_f1(answered("kv_sync_bottleneck", sustainers=("retry_storm",))) == 1.0
    assert path_f1(answered("kv_sync_bottleneck")) == pytest.approx(2 / 3)
    assert path_f1(answered("retry_storm")) == 0.0
    assert path_f1(answered()) == 0.0


def test_what_a_trigger_was_done_to_alike_is_as_right_to_name() -> None:
    told = {"entities": ["replica:a"], "also": [["replica:b", "replica:c"]]}
    ranking = [("replica:b", 0.6), ("kv_index:main", 0.2), ("replica:a", 0.1)]
    assert alike_as_one(ranking, told) == [("replica:a", 0.6), ("kv_index:main", 0.2)]
    assert culprits(told) == {"replica:a", "replica:b", "replica:c"}
    answer = answered("kv_sync_bottleneck")
    answer["truth"] |= {"entities": ["kv_index:other"], "also": [["kv_index:main"]]}
    assert onset_error_s(answer) == 0.0


def test_a_curve_has_a_row_for_each_blemish() -> None:
    rows = [answered("kv_sync_bottleneck"), {**answered(abstained=True), "blemish": "no change log"}]
    found = curves(rows)
    assert [(name, one["outages"], one["top1"][OURS][0], one["abstained"][0]) for name, one in found.items()] == [
        ("as it was", 1, 1.0, 0.0), ("no change log", 1, 0.0, 1.0),
    ]  # fmt: skip
    assert len(curve_table(found).splitlines()) == 4


def test_the_prior_blames_what_training_families_blame_most() -> None:
    seen = planted()
    entities = ("cohort:chat", "gateway:g", "kv_index:i", "replica:a")
    named = [entity for entity, _ in BASELINES["constant prior"](replace(seen, entities=entities))]
    assert named[0] == "cohort:chat"
    assert named[-1] == "gateway:g"


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_name_entities_once_and_best_first(name: str) -> None:
    ranking = BASELINES[name](planted())
    assert len({entity for entity, _ in ranking}) == len(ranking) > 0
    assert [score for _, score in ranking] == sorted((score for _, score in ranking), reverse=True)


def test_a_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    cases = grid(families=("botnet",), topologies=("four",), seeds=3)
    row = {"name": cases[0].name, "methods": {}, "old": True}
    path.write_text(json.dumps(row) + "\n" + '{"name": "torn')
    rows = sweep(cases, path, run=made)
    assert [row["name"] for row in rows] == [case.name for case in cases] == [row["name"] for row in read_results(path)]
    assert [row.get("old", False) for row in rows] == [True, False, False]
    path.write_text("{}\n")
    with pytest.raises(BadInput, match="line 1 is no result"):
        read_results(path)


def made(case: Case) -> dict[str, Any]:
    return {"name": case.name, "methods": {}}


def test_families_and_fleets_are_held_out() -> None:
    split = {(case.family, case.topology): case.split for case in smoke()}
    assert split["user-spike", "four"] == "train"
    assert split["user-spike", "six"] == split["botnet", "four"] == "between"
    assert split["botnet", "six"] == "test"
