"""Bad scenarios get an error that names file, key, value and the nearest valid one."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.errors import BadInput
from instrumented_engine.loading import load_scenario
from instrumented_engine.replica.cost_model import CostModel, load_profile
from instrumented_engine.rooms import check
from instrumented_engine.scenario import Scenario

MINIMAL = 'title = "t"\nduration_s = 60\n'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("text", "parts"), [
    (MINIMAL + "[replica]\nmax_runing = 3\n", ["unknown key 'replica.max_runing'", "value 3", "did you mean 'max_running'"]),
    (MINIMAL + "[kv_index]\nwriter_ops_per_s = -1\n", ["kv_index.writer_ops_per_s = -1", "greater than 0"]),
    (MINIMAL + "[[cohorts]]\nname = 'a'\nmax_retry = 1\n", ["cohorts.0.max_retry", "did you mean 'max_retries'"]),
    (MINIMAL + "start = 'noon'\n", ["start = 'noon'"]),
    ("title = 't'\n", ["'duration_s' is missing"]),
    ("title = \n", ["not TOML"]),
    (MINIMAL + "zzz = 1\n", ["unknown key 'zzz'", "known keys here", "duration_s"]),
])
def test_what_is_wrong_is_named(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadInput) as error:
        load_scenario(path)
    for part in [str(path), *parts]:
        assert part in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        load_scenario(tmp_path / "none.toml")


def test_overrides_reach_tables_and_lists_and_keep_their_types(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL + "[[cohorts]]\nname = 'a'\n")
    scenario = load_scenario(path, ["cluster.replicas=6", "cohorts.0.tier=paid", "replica.cancel_on_disconnect=true"])
    assert scenario.cluster.replicas == 6
    assert scenario.cohorts[0].tier == "paid"
    assert scenario.replica.cancel_on_disconnect is True


def test_a_time_may_stand_with_and_without_quotes(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL)
    times = ("2027-02-11T04:20:31Z", "'2027-02-11T05:20:31+01:00'")
    assert {load_scenario(path, [f"start={time}"]).start_ns for time in times} == {1_802_319_631_000_000_000}


@pytest.mark.parametrize("override", ["cluster.replicas", "=3", "cohorts.7.tier=paid", "title.x=1"])
def test_bad_overrides_are_named(tmp_path: Path, override: str) -> None:
    with pytest.raises(BadInput, match="--set"):
        load_scenario(written(tmp_path, MINIMAL + "[[cohorts]]\nname = 'a'\n"), [override])


SPEED = {"do": "set", "target": "replica:r0", "key": "speed", "value": 0.5, "until_s": 2}


@pytest.mark.parametrize(("actions", "parts"), [
    ([{**SPEED, "target": "replica:r9"}], ["actions.0 (at_s = 1): target = 'replica:r9' does not exist", "did you mean"]),
    ([{**SPEED, "key": "speeed"}], ["key = 'speeed' is no switch of replica", "there are: cancel_on_disconnect"]),
    ([{**SPEED, "target": "moon:x"}], ["target = 'moon:x' has no switches", "kinds that have: "]),
    ([{**SPEED, "value": None}], ["value is missing"]),
    ([{**SPEED, "value": -1}], ["speed = -1 must lie within 0.001 .. 1"]),
    ([{**SPEED, "value": True}], ["speed = True must be a finite number"]),
    ([{**SPEED, "until_s": None}], ["until_s is missing, the fault would never end"]),
    ([{**SPEED, "until_s": 0.5}], ["until_s = 0.5 is not after at_s"]),
    ([{**SPEED, "until_s": 61}], ["until_s = 61 lies after the end of the run (duration_s = 60)"]),
    ([{**SPEED, "at_s": 61, "until_s": "end"}], ["lies after the end of the run"]),
    ([SPEED, {**SPEED, "at_s": 1.5}], ["actions.1 (at_s = 1.5): overlaps actions.0, which sets speed of replica:r0 until 2"]),
    ([{"do": "rebalance", "target": "replica:r0"}], ["do = 'rebalance' is nothing that replica can do", "valid: set, note"]),
    ([{"do": "rebalance", "target": "kv_index:x"}], ["target = 'kv_index:x' does not exist", "kv_index:main"]),
    ([{**SPEED, "target": "kv_index:main", "key": "route_by", "value": "x"}], ["must be one of new_map, old_map_until_synced"]),
])
def test_impossible_actions_are_named(actions: list[dict[str, object]], parts: list[str], tmp_path: Path) -> None:
    given = [{"at_s": 1, **action} for action in actions]
    scenario = Scenario.model_validate({"title": "t", "duration_s": 60, "actions": given})
    with pytest.raises(BadInput) as error:
        check(scenario)
    for part in parts:
        assert part in str(error.value)


def test_a_file_with_an_impossible_action_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL + "[[actions]]\nat_s = 1\ndo = 'set'\ntarget = 'moon:x'\n")
    with pytest.raises(BadInput, match=f"^{path}: actions.0"):
        load_scenario(path)


def test_one_fault_may_begin_when_another_ends() -> None:
    actions = [{"at_s": 1, **SPEED}, {**SPEED, "at_s": 2, "until_s": 3}, {**SPEED, "at_s": 4, "until_s": "end"}]
    check(Scenario.model_validate({"title": "t", "duration_s": 60, "actions": actions}))


def test_an_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(BadInput, match="h20_16b_a2b"):
        load_profile("h200")


def test_the_cost_model_charges_unscaled_lengths() -> None:
    profile = load_profile("h20_16b_a2b")
    plain = CostModel(profile, 1.0, 1.0)
    scaled = CostModel(profile, 1 / 64, 1 / 4)
    assert scaled.prefill_ns(10, 1.0) == plain.prefill_ns(640, 1.0)
    assert scaled.decode_ns(5, 1.0) == 4 * plain.decode_ns(5, 1.0)
    assert scaled.step_ns(10, 5, 0.25) == pytest.approx(4 * scaled.step_ns(10, 5, 1.0), rel=1e-6)
    assert plain.decode_ns(0, 1.0) == 0
    budget = scaled.prefill_budget(5, 100_000_000)
    assert scaled.step_ns(budget, 5, 1.0) <= 100_000_000 < scaled.step_ns(budget + 1, 5, 1.0)
