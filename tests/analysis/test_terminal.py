"""The text for a human: narrow enough, and everything that was found is in it."""

from __future__ import annotations

import pytest
from simulated_runs import Runs, scene_of
from simulated_tables import MemoryTables

from analysis.investigate import investigate
from analysis.mechanisms import catalogue
from analysis.terminal import WIDTH, render
from collectors.clock import iso

CASES = [("slow_index", 1), ("slow_replica", 8), ("longer", 2), ("shed", 5), ("none", 5)]


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_no_line_is_wider_than_a_terminal_or_ends_in_blanks(runs: Runs, family: str, seed: int) -> None:
    lines = render(runs.answer(family, seed)).splitlines()[1:]  # the first holds names and no line breaks
    assert max(map(len, lines)) <= WIDTH == 100
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize(("family", "seed"), CASES[:4])
def test_the_text_holds_what_was_found(runs: Runs, family: str, seed: int) -> None:
    found = runs.answer(family, seed)
    text = " ".join(render(found).split())
    best = found.triggers[0]
    assert f"{best.entity} set it off: {best.mechanism}" in text.partition("IMPACT")[0]
    for phase in found.impact.phases:
        assert f"{iso(phase.start)[11:19]} {phase.state}" in text
    for loop in (*found.amplifiers, *found.sustainers):
        assert f"{loop.entity} {loop.mechanism}" in text
    only = [loop for loop in found.amplifiers if loop not in found.sustainers]
    assert ("KEPT DOWN" in text) == bool(found.sustainers) and ("AMPLIFIED" in text) == bool(only)
    for edge in found.cascade:
        assert edge.from_.partition(":")[2] in text and edge.to.partition(":")[2] in text
    ruled_out = text.partition("RULED OUT")[2]
    assert all(one.hypothesis in ruled_out for one in found.rejected)
    alike = {catalogue()[name].hypothesis for name in catalogue()[best.mechanism].look_alikes} | {"user_growth"}
    assert all(f"{one.hypothesis}: {one.why}" in ruled_out for one in found.rejected if one.hypothesis in alike)
    for initiator in found.initiators:
        assert initiator.event in text


def test_no_outage_is_said_first_and_nothing_is_blamed(runs: Runs) -> None:
    text = render(runs.answer("none", 5))
    assert "no outage" in text.splitlines()[0]
    assert not any(word in text for word in ("TRIGGER", "KEPT DOWN", "RULED OUT", "CHANGE"))


def test_an_abstention_names_nobody_in_its_first_line(runs: Runs) -> None:
    blind = runs.tables("slow_index", 1).change("DELETE FROM samples", "DELETE FROM steps")
    found = investigate(blind)
    assert found.abstained and found.triggers
    text = render(found)
    assert "no trigger that stands out" in " ".join(text.split("IMPACT")[0].split())
    assert "not claimed" in text and "table steps is empty" in text


def test_nothing_to_judge_is_said() -> None:
    text = render(investigate(MemoryTables({})))
    assert "nothing can be judged" in text and "no request was seen" in text


def test_an_outage_without_any_hypothesis_is_said(runs: Runs) -> None:
    scene = scene_of(runs.tables("longer", 2))
    found = investigate(runs.tables("longer", 2), (scene.bins.at(scene.first + 20), 2**62))
    assert "no trigger" in render(found) or not found.impact.phases
