"""The benchmark: ties are strict, intervals hold the mean, a killed sweep goes on, and baselines find a planted culprit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collectors.errors import BadInput
from incidents.benchmark.baselines import BASELINES
from incidents.benchmark.cases import Case, grid, smoke
from incidents.benchmark.observed import Observed, filled
from incidents.benchmark.scores import accuracy_at, interval, strict_rank
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
