"""Every incident of the library is what its truth says, by experiment."""

from __future__ import annotations

import pytest

from incidents.library_index import incidents, scenario_path
from incidents.truth import load_truth
from incidents.verify import verify
from instrumented_engine.loading import load_scenario

SLUGS = [incident.slug for incident in incidents()]


@pytest.mark.parametrize("slug", SLUGS)
def test_the_labels_survive(slug: str) -> None:
    """With one seed; ``make bench`` takes five."""
    path = scenario_path(slug)
    scenario = load_scenario(path)
    truth = load_truth(path.with_name("truth.toml"), scenario)
    found = verify(scenario, truth, [1])
    parts = [truth.triggers, truth.amplifiers, truth.sustainers, truth.decoys]
    assert len(found) == 1 + bool(truth.initiator) + bool(truth.sustainers) + sum(map(len, parts))
    assert all(one.holds for one in found), found
