"""Every incident of the library is what its truth says, by experiment."""

from __future__ import annotations

from pathlib import Path

import pytest

from incidents.commands.incidents import main
from incidents.families.registry import FAMILIES
from incidents.library_index import LIBRARY, incidents, scenario_path
from incidents.truth import load_truth
from incidents.verify import verify
from instrumented_engine.loading import load_scenario

TOLD_BY_HAND = ("busy-but-healthy", "context-release", "kv-sync-rebalance", "retry-storm-after-dip", "user-spike")
"""The first of the library, with stories of their own."""
OTHER_ROLES = ("spike-meets-rebalance", "free-tier-limit", "control-plane-dns", "lost-probes")
"""Causes that were needed together, a mitigation, a loop that is no retry storm, an outage without a loop."""


@pytest.mark.parametrize("slug", [*TOLD_BY_HAND, *OTHER_ROLES])
def test_the_labels_survive(slug: str) -> None:
    """With one seed, for some; ``make bench`` takes five for all."""
    path = scenario_path(slug)
    scenario = load_scenario(path)
    truth = load_truth(path.with_name("truth.toml"), scenario)
    found = verify(scenario, truth, [1])
    parts = [truth.triggers, truth.amplifiers, truth.sustainers, truth.decoys, truth.mitigations]
    undone = any(trigger.undo is not None for trigger in truth.triggers)
    assert len(found) == 1 + bool(truth.initiator) + undone + sum(map(len, parts))
    assert all(one.holds for one in found), found


def test_the_library_holds_every_family() -> None:
    assert {incident.slug for incident in incidents()} == set(FAMILIES)


@pytest.mark.parametrize("slug", sorted(set(FAMILIES) - set(TOLD_BY_HAND)))
def test_an_incident_is_the_canonical_case_of_its_family(slug: str, tmp_path: Path) -> None:
    """``flashover incidents new DIR --family SLUG`` writes it again."""
    assert main(["new", str(tmp_path / slug), "--family", slug]) == 0
    for path in (tmp_path / slug).iterdir():
        assert path.read_text() == (LIBRARY / slug / path.name).read_text(), f"{path.name}: write it again"
