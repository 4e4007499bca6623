"""Reliability: a probability that says what it is has no error but chance, one that boasts has, and every outage is counted."""

from __future__ import annotations

import random
from xml.etree import ElementTree as ET

import pytest

from incidents.benchmark.calibration import confusion, debiased_error, error_interval, plot, reliability, suspicions
from incidents.benchmark.outcome import OURS
from incidents.benchmark.sweep import Row


def rows_of(count: int, boast: float, seed: int = 1) -> list[Row]:
    """Outages whose first suspect is right as often as it says, less ``boast``."""
    source = random.Random(seed)
    rows = []
    for _ in range(count):
        said = source.uniform(0.3, 0.95)
        right = source.random() < said - boast
        rows.append({
            "truth": {"entities": ["replica:a"], "mechanisms": ["slow_replica"]},
            "methods": {OURS: {"ranking": [("replica:a" if right else "replica:b", said)]}},
            "answer": {"abstained": said < 0.5, "triggers": [{"mechanism": "slow_replica" if right else "replica_loss"}]},
        })  # fmt: skip
    return rows


def said_of(count: int, boast: float) -> list[tuple[float, bool]]:
    return list(suspicions(rows_of(count, boast)))


def test_honest_probabilities_have_hardly_an_error_and_boasts_have_theirs() -> None:
    assert debiased_error(said_of(3000, 0.0)) < 0.03
    assert debiased_error(said_of(3000, 0.25)) == pytest.approx(0.25, abs=0.04)
    low, high = error_interval(said_of(300, 0.25))[1:]
    assert 0.1 < low < 0.25 < high < 0.4


def test_every_case_lies_in_one_bin_and_in_the_table() -> None:
    rows = rows_of(200, 0.1)
    assert sum(one.cases for one in reliability(suspicions(rows))) == 200
    assert all(one.low <= one.said < one.low + 0.1 + 1e-9 and 0 <= one.was <= 1 for one in reliability(suspicions(rows)))
    table = confusion(rows)
    assert sum(count for *_, count in table) == 200
    assert {true for true, *_ in table} == {"slow_replica"} and any("not claimed" in named for _, named, _ in table)


def test_the_plot_is_a_picture_with_a_circle_for_each_bin() -> None:
    root = ET.fromstring(plot(said_of(100, 0.0)))
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == len(reliability(said_of(100, 0.0)))
