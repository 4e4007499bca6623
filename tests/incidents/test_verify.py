"""Labels that are true survive their experiments, labels that are not are found out, and a bad truth.toml is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_fleet import made_trace

from flashover import main
from incidents.goodput import WINDOW_S, goodput, lost
from incidents.truth import Truth, load_truth
from incidents.verify import experiments, verify
from instrumented_engine.loading import load_scenario
from instrumented_engine.scenario import Scenario

SCENARIO = """
title = "two slow replicas, and a note that had nothing to do with it"
duration_s = 400
workload = {{ file = "{trace}", prompt_scale = 0.015625 }}
cluster = {{ replicas = 2 }}
replica = {{ block_tokens = 8, kv_blocks = 4096, cancel_on_disconnect = true }}
cohorts = [{{ name = "chat", ttft_timeout_s = 5, max_retries = 1 }}]

[[actions]]
at_s = 90
until_s = 180
do = "set"
target = "replica:r0"
key = "speed"
value = 0.1

[[actions]]
at_s = 90
until_s = 180
do = "set"
target = "replica:r1"
key = "speed"
value = 0.1

[[actions]]
at_s = 95
do = "note"
target = "gateway:main"
log = "certificate renewed"
"""
TRUTH = """
[[triggers]]
entity = "replica:r0"
mechanism = "slow_replica"
onset_s = [90, 95]
without = { actions = [0, 1] }
undo = { end = [0, 1] }

[[decoys]]
what = "certificate"
without = { actions = [2] }

[impact]
outage_from_s = [90, 150]
recovered_by_s = [180, 240]
cohorts = ["chat"]

[proof]
late_s = 150
duration_s = 400
"""


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("incident")
    trace = made_trace(folder / "trace.jsonl", requests=700, seconds=390)
    path = folder / "scenario.toml"
    path.write_text(SCENARIO.format(trace=trace))
    return path


def truth(scenario: Path, *changes: tuple[str, str]) -> tuple[Scenario, Truth]:
    text = TRUTH
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = scenario.with_name("truth.toml")
    path.write_text(text)
    played = load_scenario(scenario)
    return played, load_truth(path, played)


def labels(scenario: Path, *changes: tuple[str, str]) -> dict[str, bool]:
    return {one.label: one.holds for one in verify(*truth(scenario, *changes), [1, 2])}


def test_true_labels_survive(scenario: Path) -> None:
    assert labels(scenario) == {
        "impact": True, "triggers.0 slow_replica": True, "not sustained": True, "decoys.0 certificate": True,
    }


def test_false_labels_are_found_out(scenario: Path) -> None:
    """The decoy taken for the trigger and the trigger for a decoy; a loop that is none; an outage at another time."""
    swapped = labels(
        scenario, ("actions = [0, 1]", "actions = []"), ("actions = [2]", "actions = [0, 1]"),
        ("outage_from_s = [90, 150]", "outage_from_s = [0, 20]"),
        ("[impact]", ('[[sustainers]]\nmechanism = "retry_storm"\ncut = {}\n[[amplifiers]]\nmechanism = "retry_storm"\n'
                     "without = { actions = [2] }\n[impact]")),
    )
    assert swapped == {
        "impact": False, "triggers.0 slow_replica": False, "amplifiers.0 retry_storm": False, "sustained": False,
        "sustainers.0 retry_storm": True, "decoys.0 certificate": False,
    }


def test_experiments_differ_in_one_part_and_share_their_luck(scenario: Path) -> None:
    played, told = truth(scenario)
    runs = experiments(played, told, 7)
    assert list(runs) == ["told", "uncured", "undone", "triggers.0", "decoys.0"]
    assert {one.seed for one in runs.values()} == {7}
    assert [len(runs[name].actions) for name in runs] == [3, 3, 3, 1, 2]
    assert [one.until_s for one in runs["undone"].actions] == [150, 150, None]
    assert runs["uncured"].model_copy(update={"actions": runs["decoys.0"].actions}) == runs["decoys.0"]
    windows = {name: goodput(runs[name], ["chat"]) for name in ("uncured", "triggers.0")}
    assert [one.users for one in windows["uncured"]] == [one.users for one in windows["triggers.0"]]
    assert [one.at_s for one in windows["uncured"][:3]] == [0, WINDOW_S, 2 * WINDOW_S]
    assert lost(windows["triggers.0"]) == 0 < lost(windows["uncured"])


def test_a_run_that_outlasts_its_workload_proves_nothing(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth(scenario, ("duration_s = 400", "duration_s = 600"))
    assert main(["verify", str(scenario), "--seeds", "1"]) == 2
    assert "the workload is over by then" in capsys.readouterr().err


def test_a_healthy_run_has_decoys_alone(tmp_path: Path, scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calm = tmp_path / "scenario.toml"
    calm.write_text(scenario.read_text().replace("value = 0.1", "value = 0.9"))
    told = TRUTH[TRUTH.index("[[decoys]]") : TRUTH.index("[impact]")] + TRUTH[TRUTH.index("[proof]") :]
    calm.with_name("truth.toml").write_text(told)
    assert main(["verify", str(calm), "--seeds", "1"]) == 0
    assert "nobody notices" in capsys.readouterr().out
    calm.with_name("truth.toml").write_text(TRUTH[: TRUTH.index("[impact]")] + TRUTH[TRUTH.index("[proof]") :])
    assert main(["verify", str(calm), "--seeds", "1"]) == 2
    assert "impact: is missing, yet there are roles" in capsys.readouterr().err


@pytest.mark.parametrize(("old", "new", "part"), [
    ('replica:r0"\nmech', 'replica:r7"\nmech', "triggers.0.entity = 'replica:r7': does not exist in this scenario; did you"),
    ("slow_replica", "slow_replika", "triggers.0.mechanism = 'slow_replika': no mechanism; did you mean 'slow_rep"),
    ("end = [0, 1]", "end = [0, 2]", "triggers.0.undo.end: action 2 is none that sets something for a time"),
    ("late_s = 150", "late_s = 60", "triggers.0.undo.end: action 0 has not begun at proof.late_s = 60"),
    ("actions = [2]", "actions = [3]", "decoys.0.without.actions: there is no action 3; the scenario has 3, from 0"),
    ("onset_s = [90, 95]", "onset_s = [95, 90]", "triggers.0.onset_s = [95, 90]: must rise"),
    ("recovered_by_s = [180, 240]", "recovered_by_s = [180, 2400]", "impact.recovered_by_s = [180, 2400]: must rise and lie"),
    ("late_s = 150", "late_s = 500", "proof.late_s = 500: must lie before"),
    ('cohorts = ["chat"]', 'cohorts = ["chatt"]', "cohorts: 'chatt' does not exist in this scenario; did you mean 'chat'?"),
    ("what = ", "wat = ", "unknown key 'decoys.0.wat'"),
])
def test_a_truth_that_cannot_be_is_named(
    scenario: Path, old: str, new: str, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario.with_name("truth.toml").write_text(TRUTH.replace(old, new))
    assert main(["verify", str(scenario)]) == 2
    assert part in (said := capsys.readouterr().err)
    assert "truth.toml" in said


def test_the_verb_ends_with_1_when_a_label_does_not_survive(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth(scenario)
    assert main(["verify", str(scenario), "--seeds", "1", "--jobs", "1"]) == 0
    assert "1 of 1" in capsys.readouterr().out
    truth(scenario, ("actions = [0, 1]", "actions = [0]"))
    assert main(["verify", str(scenario), "--seeds", "1", "--jobs", "1", "--json"]) == 1
    found = {one["label"]: one["holds"] for one in json.loads(capsys.readouterr().out)}
    assert not found["triggers.0 slow_replica"]
    assert found["decoys.0 certificate"]
