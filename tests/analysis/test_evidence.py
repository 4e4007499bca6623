"""Every claim can be checked: its SQL is one SELECT that gives one row, with the value and the baseline of the claim."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
from simulated_runs import Runs

from analysis.investigation import Evidence

INCIDENTS = [("slow_index", 1), ("slow_replica", 8), ("longer", 2), ("shed", 5)]


def evidence_in(part: Any) -> Iterator[Evidence]:
    """All of it, wherever in the tree it hangs."""
    if isinstance(part, Evidence):
        yield part
    elif isinstance(part, tuple):
        for item in part:
            yield from evidence_in(item)
    elif dataclasses.is_dataclass(part):
        for field in dataclasses.fields(part):
            yield from evidence_in(getattr(part, field.name))


@pytest.mark.parametrize(("family", "seed"), INCIDENTS)
def test_the_sql_of_a_claim_gives_its_value_and_its_baseline(runs: Runs, family: str, seed: int) -> None:
    found, tables = runs.answer(family, seed), runs.tables(family, seed)
    items = list(evidence_in(found))
    assert len(items) >= 10
    for item in items:
        (statement,) = tables.connection.extract_statements(item.sql)
        assert str(statement.type).endswith("SELECT")
        (row,) = tables.query(item.sql).to_pylist()
        assert list(row) == ["value", "baseline"]
        for told, asked in ((item.value, row["value"]), (item.baseline, row["baseline"])):
            assert (told is None) == (asked is None), item.claim
            assert told is None or told == pytest.approx(float(asked)), item.claim


@pytest.mark.parametrize(("family", "seed"), INCIDENTS)
def test_every_claim_has_evidence(runs: Runs, family: str, seed: int) -> None:
    found = runs.answer(family, seed)
    claims = (*found.triggers, *found.initiators, *found.amplifiers, *found.sustainers, *found.cascade, *found.rejected)
    assert all(one.evidence for one in claims)


def test_what_the_evidence_of_a_trigger_shows_is_what_its_words_say(runs: Runs) -> None:
    for family, seed in INCIDENTS:
        signature = runs.answer(family, seed).triggers[0].evidence[0]
        assert signature.value is not None and signature.baseline is not None
        assert signature.value > signature.baseline, "all these mechanisms raise their signature"


def test_values_are_those_that_the_ranking_saw(runs: Runs) -> None:
    scene = runs.scene("slow_index", 1)
    for name, of_entity in scene.board.items():
        for entity, series in of_entity.items():
            item = scene.evidence("", name, entity, scene.first, scene.last)
            if item.value is not None:
                assert item.value == pytest.approx(series.mean(scene.first, scene.last), rel=1e-9), (name, entity)


def test_the_sql_of_a_document_survives_json(runs: Runs) -> None:
    text = runs.answer("slow_index", 1).document()
    told = json.loads(text)["triggers"][0]["evidence"][0]
    (row,) = runs.tables("slow_index", 1).query(told["sql"]).to_pylist()
    assert row["value"] == pytest.approx(told["value"], rel=1e-5)
