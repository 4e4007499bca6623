"""What Flashover answers on stores that the engine really filled: five seeds, three controls, and metamorphic twins.

The twins must get the same answer: entities renamed, the epoch shifted, six replicas for four, the change log dropped.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analysis.investigate import investigate
from analysis.investigation import Investigation
from analysis.terminal import render
from collectors.seal import seal
from collectors.store import Store
from incidents.library_index import scenario_path
from incidents.replay import replay
from instrumented_engine.loading import load_scenario

REBALANCE = 'actions=[{at_s=240, do="rebalance", target="kv_index:main", log_kind="rebalance", log="routine update"}]'
SLOW = (
    'actions=[{at_s=240, do="rebalance", target="kv_index:main", log_kind="rebalance", log="routine update"},'
    ' {at_s=240, do="set", target="replica:r2", key="speed", value=0.25, until_s="end"},'
    ' {at_s=900, until_s=1080, do="set", target="gateway:main", key="shed_share", value=0.9, log_kind="load_shed",'
    '  log="shedding"}]'
)
RENAMED = ['names={replica="alpha-", gateway="edge", router="rt9", kv_index="cachemap"}',
           "actions.0.target=kv_index:cachemap", "actions.1.target=gateway:edge"]
FAST = "kv_index.writer_ops_per_s=100000"
RUNS: dict[str, list[str]] = {
    **{f"seed{seed}": [f"seed={seed}"] for seed in range(1, 6)},
    "no_rebalance": ["actions=[]"],
    "fast_index": [FAST, REBALANCE],
    "slow_replica": [FAST, SLOW],
    "renamed": RENAMED,
    "shifted": ["start=2027-02-11T04:20:31Z"],
    "six_replicas": ["cluster.replicas=6", "workload.compress=1.59", "kv_index.writer_ops_per_s=195",
                     "warm_up_s=540", "duration_s=1230"],
}


class Answers:
    """Replays each run once, when it is first asked for, and keeps the investigation of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Investigation] = {}

    def store(self, name: str) -> Path:
        path = self._folder / name
        if not path.exists():
            replay(load_scenario(scenario_path("kv-sync-rebalance"), RUNS[name]), path)
        return path

    def of(self, name: str) -> Investigation:
        if name not in self._known:
            with Store.open(self.store(name)) as store:
                self._known[name] = investigate(store)
            if name != "seed1":
                shutil.rmtree(self._folder / name)
        return self._known[name]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return Answers(tmp_path_factory.mktemp("answers"))


def says_kv_sync(found: Investigation, index: str = "kv_index:main") -> None:
    first = found.triggers[0]
    assert (first.entity, first.mechanism) == (index, "kv_sync_bottleneck")
    assert not found.abstained
    assert any(sustainer.mechanism == "retry_storm" for sustainer in found.sustainers)
    states = [phase.state for phase in found.impact.phases]
    assert "outage" in states and states[-1] in ("recovered", "over")


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_index_is_named_and_retries_keep_it_down(answers: Answers, seed: int) -> None:
    found = answers.of(f"seed{seed}")
    says_kv_sync(found)
    assert any("rebalance" in initiator.event for initiator in found.initiators)
    assert "user_growth" in {rejected.hypothesis for rejected in found.rejected}


@pytest.mark.parametrize("control", ["no_rebalance", "fast_index"])
def test_no_outage_is_reported_where_there_was_none(answers: Answers, control: str) -> None:
    found = answers.of(control)
    assert found.impact.phases == ()
    assert found.triggers == () and found.sustainers == () and found.initiators == () and found.cascade == ()


def test_a_slow_replica_is_named_and_kv_sync_is_not(answers: Answers) -> None:
    found = answers.of("slow_replica")
    assert (found.triggers[0].entity, found.triggers[0].mechanism) == ("replica:r2", "slow_replica")
    assert all(trigger.mechanism != "kv_sync_bottleneck" or trigger.probability < 0.2 for trigger in found.triggers)


def test_renamed_entities_get_the_same_answer(answers: Answers) -> None:
    says_kv_sync(answers.of("renamed"), "kv_index:cachemap")


def test_a_shifted_epoch_shifts_the_answer_and_nothing_else(answers: Answers) -> None:
    here, there = answers.of("seed1"), answers.of("shifted")
    says_kv_sync(there)
    assert shape(here) == shape(there)


def test_six_replicas_get_the_same_answer(answers: Answers) -> None:
    says_kv_sync(answers.of("six_replicas"))


def test_without_the_change_log_triggers_sustainers_and_phases_are_the_same(answers: Answers, tmp_path: Path) -> None:
    full = answers.of("seed1")
    sealed = tmp_path / "incident.duckdb"
    with Store.open(answers.store("seed1")) as store:
        seal(store, sealed)
    with duckdb.connect(str(sealed)) as connection:
        connection.execute("DELETE FROM events")
    with Store.open(sealed) as store:
        blind = investigate(store)
    says_kv_sync(blind)
    assert shape(blind) == shape(full)
    assert blind.initiators == ()


def test_a_sealed_file_answers_as_the_store_does(answers: Answers, tmp_path: Path) -> None:
    with Store.open(answers.store("seed1")) as store:
        seal(store, tmp_path / "incident.duckdb")
    with Store.open(tmp_path / "incident.duckdb") as sealed:
        assert shape(investigate(sealed)) == shape(answers.of("seed1"))


def test_every_claim_carries_a_query_that_gives_its_value(answers: Answers) -> None:
    found = answers.of("seed1")
    evidence = [item for part in (*found.triggers, *found.sustainers, *found.amplifiers, *found.cascade, *found.rejected)
                for item in part.evidence]
    assert len(evidence) > 10
    with Store.open(answers.store("seed1")) as store:
        for item in evidence:
            value = store.query(item.sql).to_pylist()[0]
            assert next(iter(value.values())) == pytest.approx(item.value, rel=1e-6, abs=1e-9), item.claim


def test_the_readme_shows_this_very_answer(answers: Answers) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    shown = readme.partition("<!-- demo-output:begin -->\n```\n")[2].partition("```\n<!-- demo-output:end -->")[0]
    assert shown.startswith(render(answers.of("seed1")) + "\n")


def shape(found: Investigation) -> dict[str, Any]:
    """Who and what, without the times."""
    return {
        "phases": [phase.state for phase in found.impact.phases],
        "triggers": [(trigger.entity, trigger.mechanism) for trigger in found.triggers],
        "sustainers": [(sustainer.entity, sustainer.mechanism) for sustainer in found.sustainers],
    }
