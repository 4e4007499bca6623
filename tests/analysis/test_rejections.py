"""What is ruled out was measured, is not what is claimed, and says why in words that its numbers bear out."""

from __future__ import annotations

import pytest
from simulated_runs import Runs

from analysis.investigate import investigate
from analysis.investigation import Investigation
from analysis.mechanisms import Mechanism, catalogue
from analysis.rejections import UNLIKELY

INCIDENTS = [("slow_index", 1), ("slow_replica", 8), ("longer", 2)]


@pytest.mark.parametrize(("family", "seed"), INCIDENTS)
def test_everything_that_could_be_tested_is_claimed_or_ruled_out(runs: Runs, family: str, seed: int) -> None:
    found = runs.answer(family, seed)
    rejected = {one.hypothesis for one in found.rejected}
    names = {one.name: one.hypothesis for one in catalogue().values() if one.role == "trigger"}
    likely = {names[one.mechanism] for one in found.triggers if one.probability >= UNLIKELY}
    assert likely and not likely & rejected
    tested = {one.hypothesis for one in catalogue().values() if one.role == "trigger" and _measured(found, one)}
    assert likely | rejected == tested
    assert [one.hypothesis for one in found.rejected] == sorted(rejected)


def _measured(found: Investigation, mechanism: Mechanism) -> bool:
    return any(move.signal in found.coverage.signals for move in mechanism.of_role("signature"))


def test_what_is_not_measured_is_not_ruled_out(runs: Runs) -> None:
    full = {one.hypothesis for one in runs.answer("longer", 2).rejected}
    blind = {one.hypothesis for one in investigate(runs.tables("longer", 2).change("DELETE FROM steps")).rejected}
    assert full - blind == {"slow_replica", "replica_loss", "kv_eviction_storm", "preemption_thrash"}


def test_a_signal_that_falls_silent_when_trouble_begins_is_no_alibi(runs: Runs) -> None:
    scene = runs.scene("longer", 2)
    silent = f"DELETE FROM samples WHERE ts_ns >= {scene.bins.at(scene.healthy.last)}"
    found = investigate(runs.tables("longer", 2).change(silent))
    assert "kv_sync_bottleneck" in {one.hypothesis for one in runs.answer("longer", 2).rejected}
    assert "kv_sync_bottleneck" not in {one.hypothesis for one in found.rejected}


def test_too_many_users_are_ruled_out_term_by_term(runs: Runs) -> None:
    why = {one.hypothesis: one.why for one in runs.answer("slow_index", 1).rejected}["user_growth"]
    for term in ("users x", "requests per user x", "prompt tokens per request x", "attempts per request x"):
        assert term in why
    assert "did not move enough" in why


def test_the_users_own_terms_show_what_users_did(runs: Runs) -> None:
    longer = {one.hypothesis: one.why for one in runs.answer("longer", 2).rejected}["user_growth"]
    tokens = float(longer.partition("prompt tokens per request x")[2].partition(",")[0])
    users = float(longer.partition("users x")[2].partition(",")[0])
    assert tokens > 1.3 and 0.7 < users < 1.3


@pytest.mark.parametrize(("family", "seed"), INCIDENTS)
def test_each_rejection_is_borne_out_by_one_number(runs: Runs, family: str, seed: int) -> None:
    for one in runs.answer(family, seed).rejected:
        assert len(one.evidence) == 1
        entity = one.evidence[0].claim.partition(": ")[0]
        assert entity.partition(":")[0] in {"cohort", "gateway", "router", "kv_index", "replica"}
        if "did not move enough" in one.why and "nearest" in one.why:
            assert entity in one.why
