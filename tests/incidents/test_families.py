"""Families of incidents: what they draft can be, on every fleet, and what they write can be read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.errors import BadInput
from incidents.families.fleet import TOPOLOGIES
from incidents.families.registry import FAMILIES, checked, drafted
from incidents.families.writing import write_incident
from incidents.truth import load_truth
from instrumented_engine.loading import load_scenario


@pytest.mark.parametrize("name", FAMILIES)
def test_every_case_of_a_family_can_be(name: str) -> None:
    for fleet in TOPOLOGIES:
        for severity in (0.5, 1.0, 2.0):
            scenario, truth = checked(drafted(name, severity, fleet, seed=3, decoys=True))
            assert scenario.seed == 3
            assert len(truth.decoys) >= 3
            assert FAMILIES[name].story


def test_what_is_written_is_what_was_drafted(tmp_path: Path) -> None:
    draft = drafted("botnet", decoys=True)
    write_incident(tmp_path / "new", draft, "A story.", "Made here.")
    scenario = load_scenario(tmp_path / "new/scenario.toml")
    assert (scenario, load_truth(tmp_path / "new/truth.toml", scenario)) == checked(draft)
    with pytest.raises(BadInput, match="is not empty"):
        write_incident(tmp_path / "new", draft, "A story.", "Made here.")


@pytest.mark.parametrize(("name", "severity", "fleet", "part"), [
    ("botnett", 1.0, "four", "no family 'botnett'; did you mean 'botnet'"),
    ("botnet", 0.0, "four", "severity = 0: must be above 0"),
    ("botnet", 1.0, "fore", "no topology 'fore'; did you mean 'four'"),
])
def test_what_does_not_exist_is_named(name: str, severity: float, fleet: str, part: str) -> None:
    with pytest.raises(BadInput, match=part):
        drafted(name, severity, fleet)
