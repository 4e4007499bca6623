"""The whole answer on fleets that nobody looked at before: seeds for tests, one case of each family that users felt.

``python tests/analysis/sweep_families.py`` counts hits over many seeds; here each family has to be right once.
"""

from __future__ import annotations

import pytest
from simulated_families import FAMILIES, TEST_SEEDS, Answer, Case, judge
from simulated_runs import Runs
from simulated_tables import START_NS

from analysis.investigate import investigate
from analysis.investigation import Investigation

S = 1_000_000_000
FAULTS = [family for family in FAMILIES if family != "none"]


def felt(runs: Runs, family: str) -> tuple[int, Case]:
    """The first test seed of the family whose users felt the fault, and what is true of it."""
    for seed in range(TEST_SEEDS, TEST_SEEDS + 20):
        case, fleet = runs.fleet(family, seed)
        if judge(case, fleet, with_twin=False).impact == "incident":
            return seed, case
    raise AssertionError(f"no seed of {family} makes an incident")


def is_right(found: Investigation, answers: tuple[Answer, ...]) -> bool:
    if found.abstained or not found.triggers:
        return False
    best = found.triggers[0]
    return any(best.mechanism == mechanism and best.entity.startswith(entity) for entity, mechanism in answers)


@pytest.mark.parametrize("family", FAULTS)
def test_the_trigger_is_named(runs: Runs, family: str) -> None:
    seed, case = felt(runs, family)
    found = runs.answer(family, seed)
    assert is_right(found, case.answers), (seed, found.triggers[:2])
    onset = found.triggers[0].onset
    assert START_NS + (case.since - 75) * S <= onset.low
    assert onset.high <= START_NS + (case.since + 120) * S


@pytest.mark.parametrize("family", FAULTS)
def test_the_outage_is_found_without_being_told_when(runs: Runs, family: str) -> None:
    seed, case = felt(runs, family)
    found = runs.answer(family, seed)
    worst = next(episode for episode in found.episodes if episode.triggers)
    assert START_NS + (case.since - 30) * S <= worst.start <= START_NS + (case.until + 120) * S
    assert "outage" in [phase.state for phase in found.impact.phases] or found.impact.bad_request_share < 0.6


@pytest.mark.parametrize("seed", range(TEST_SEEDS, TEST_SEEDS + 3))
def test_a_fleet_without_a_fault_has_no_outage(runs: Runs, seed: int) -> None:
    found = runs.answer("none", seed)
    assert found.impact.phases == () and not found.abstained
    assert (found.triggers, found.sustainers, found.amplifiers, found.rejected) == ((), (), (), ())
    assert found.residual_probability == 0.0


@pytest.mark.parametrize("family", ["surge", "cache_cut"])
def test_the_answer_does_not_hang_on_the_change_log(runs: Runs, family: str) -> None:
    seed, case = felt(runs, family)
    blind = investigate(runs.tables(family, seed).change("DELETE FROM events"))
    assert is_right(blind, case.answers) and blind.initiators == ()


def test_the_same_tables_give_the_same_document(runs: Runs) -> None:
    seed, _ = felt(runs, "slow_replica")
    assert investigate(runs.tables("slow_replica", seed)).document() == runs.answer("slow_replica", seed).document()
