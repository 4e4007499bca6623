"""The page of mechanisms is what the rooms declare, and what they declare is there: settings, telemetry, tests, parts."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from collectors.dialects import Dialects
from collectors.schema import EVENTS, TABLES
from instrumented_engine.mechanism import Mechanism
from instrumented_engine.mechanism_page import mechanisms_page
from instrumented_engine.rooms import ROOMS
from instrumented_engine.scenario import Scenario

ROOT = Path(__file__).resolve().parents[2]
MECHANISMS = [mechanism for room in ROOMS for mechanism in room.mechanisms]
COLUMNS = {column.name for table in TABLES.values() for column in table.columns}
METRICS = set(Dialects().signals)
EVENT_KINDS = {kind.strip() for kind in EVENTS.column("kind").meaning.split("|")}


@cache
def functions_in(path: Path) -> frozenset[str]:
    functions = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))
    return frozenset(function.name for function in functions)


def tables_at(key: str) -> list[type[BaseModel]]:
    """The tables of the scenario that hold the last part of ``key``."""
    model: type[BaseModel] = Scenario
    *tables, _ = key.split(".")
    for part in tables:
        annotation = model.model_fields[part].annotation
        nested = [annotation, *getattr(annotation, "__args__", ())]
        model = next(kind for kind in nested if isinstance(kind, type) and issubclass(kind, BaseModel))
    return [model]


def test_the_page_is_what_the_rooms_declare() -> None:
    page = (ROOT / "docs" / "mechanisms.md").read_text()
    assert page == mechanisms_page(), "flashover incidents --mechanisms > docs/mechanisms.md"


def test_names_are_unique() -> None:
    names = [mechanism.name for mechanism in MECHANISMS]
    assert len(names) == len(set(names))
    switches = {switch for mechanism in MECHANISMS for switch in mechanism.switches}
    assert len(switches) == len({(switch.kind, switch.key) for switch in switches}), "mechanisms may share a switch"


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda mechanism: mechanism.name)
def test_a_mechanism_s_test_is_there(mechanism: Mechanism) -> None:
    file, _, function = mechanism.test.partition("::")
    assert function in functions_in(ROOT / "tests" / file)


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda mechanism: mechanism.name)
def test_a_mechanism_s_settings_and_telemetry_are_there(mechanism: Mechanism) -> None:
    for key in mechanism.settings:
        assert key.rpartition(".")[2] in tables_at(key)[0].model_fields, key
    assert mechanism.shows
    for name in mechanism.shows:
        assert name in METRICS or name in COLUMNS or name.removeprefix("event ") in EVENT_KINDS, name
    assert mechanism.switches or mechanism.operations or mechanism.settings
