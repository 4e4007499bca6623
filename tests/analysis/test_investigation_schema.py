"""The JSON document keeps to its schema, which is made from the dataclasses and lies in docs/."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_runs import Runs
from simulated_tables import MemoryTables

from analysis.investigate import investigate
from analysis.investigation import Investigation
from analysis.investigation_schema import investigation_schema, schema_text
from collectors.clock import iso, parse_iso

PAGE = Path(__file__).resolve().parents[2] / "docs/investigation.schema.json"
SCHEMA = investigation_schema()
KINDS = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None), "array": list,
         "object": dict}  # fmt: skip
KNOWN = set("$ref $defs $schema title description type format properties required items prefixItems minItems maxItems "
            "enum anyOf const".split())  # fmt: skip


def faults(value: Any, schema: dict[str, Any], where: str = "$") -> list[str]:
    """What is wrong with ``value``: the part of JSON Schema that ours uses."""
    assert set(schema) <= KNOWN
    if "$ref" in schema:
        return faults(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], where)
    if "anyOf" in schema:
        return [] if any(not faults(value, one, where) for one in schema["anyOf"]) else [f"{where}: {value!r} fits none"]
    if "const" in schema or "enum" in schema:
        return [] if value in schema.get("enum", [schema.get("const")]) else [f"{where}: {value!r} is not allowed"]
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(isinstance(value, KINDS[kind]) and (kind == "boolean") == isinstance(value, bool) for kind in types):
        return [f"{where}: {value!r} is no {types}"]
    if schema.get("format") == "date-time" and not _is_time(value):
        return [f"{where}: {value!r} is no time"]
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
            return [f"{where}: {len(value)} items"]
        kinds = schema.get("prefixItems") or [schema["items"]] * len(value)
        return [fault for i, item in enumerate(value) for fault in faults(item, kinds[i], f"{where}[{i}]")]
    if isinstance(value, dict):
        names = set(schema["properties"])
        wrong = [f"{where}: {key} is not described" for key in sorted(set(value) - names)]
        wrong += [f"{where}: {key} is missing" for key in sorted(set(schema["required"]) - set(value))]
        for key in sorted(names & set(value)):
            wrong += faults(value[key], schema["properties"][key], f"{where}.{key}")
        return wrong
    return []


def _is_time(text: str) -> bool:
    try:
        return parse_iso(text) >= 0
    except ValueError:
        return False


def test_the_page_in_docs_is_the_schema() -> None:
    assert PAGE.read_text(encoding="utf-8") == schema_text(), (
        "docs/investigation.schema.json is old: write analysis.investigation_schema.schema_text() to it"
    )


@pytest.mark.parametrize(("family", "seed"), [("slow_index", 1), ("slow_replica", 8), ("longer", 2), ("shed", 5), ("none", 5)])
def test_an_answer_keeps_to_the_schema(runs: Runs, family: str, seed: int) -> None:
    assert faults(json.loads(runs.answer(family, seed).document()), SCHEMA) == []


@pytest.mark.parametrize("gone", [["steps"], ["samples", "steps"], ["requests"]])
def test_an_answer_from_damaged_tables_keeps_to_the_schema(runs: Runs, gone: list[str]) -> None:
    found = investigate(runs.tables("slow_index", 1).change(*(f"DELETE FROM {name}" for name in gone)))
    assert faults(json.loads(found.document()), SCHEMA) == []


def test_an_answer_from_nothing_keeps_to_the_schema() -> None:
    assert faults(investigate(MemoryTables({})).to_json(), SCHEMA) == []


def damaged(document: dict[str, Any], path: list[Any], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    place = changed
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


@pytest.mark.parametrize(("path", "value"), [
    (["version"], 2), (["abstained"], "no"), (["impact", "phases", 0, "state"], "down"), (["impact", "slo"], ...),
    (["triggers", 0, "onset", "low"], 17), (["triggers", 0, "probability"], None), (["extra"], 1),
    (["sustainers", 0, "gain"], [1.0]), (["window", "start"], "yesterday"), (["triggers", 0, "evidence", 0, "sql"], None),
])  # fmt: skip
def test_the_schema_refuses_what_is_no_answer(runs: Runs, path: list[Any], value: Any) -> None:
    good = json.loads(runs.answer("slow_index", 1).document())
    assert faults(damaged(good, path, value), SCHEMA) != []


def test_the_document_has_the_fields_that_the_design_promises(runs: Runs) -> None:
    document = runs.answer("slow_index", 1).to_json()
    assert next(iter(document)) == "version"
    promised = ("version window coverage calibration abstained impact initiators triggers residual_probability amplifiers "
                "sustainers episodes cascade rejected").split()  # fmt: skip
    assert set(promised) <= set(document)
    assert set(document["cascade"][0]) >= {"from", "to", "lag_s", "evidence"}
    assert set(document["triggers"][0]) == {
        "rank", "entity", "mechanism", "equivalent_to", "probability", "onset", "evidence", "also", "cause_set", "episode",
    }  # fmt: skip
    assert set(document["episodes"][0]) == {"start", "end", "triggers", "note"}


def test_episodes_name_triggers_by_rank(runs: Runs) -> None:
    found: Investigation = runs.answer("slow_index", 1)
    named = {trigger.rank: trigger for trigger in found.triggers}
    assert found.episodes[found.triggers[0].episode].triggers == (1,)
    for number, episode in enumerate(found.episodes):
        assert len(episode.triggers) <= 1
        assert all(named[rank].episode == number for rank in episode.triggers)


@given(st.integers(0, 4 * 10**18))
def test_a_time_survives_its_text_to_the_millisecond(at: int) -> None:
    assert parse_iso(iso(at)) == at - at % 1_000_000
