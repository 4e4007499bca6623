"""The contract as pages and programs read it is the contract in ``schema.py``, and it is complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from collectors import schema
from collectors.commands import schema as command
from collectors.schema import PHASES, REQUESTS, SPANS, TABLES
from collectors.schema_page import as_json, as_markdown, as_text, type_name
from collectors.tables.hours import HOUR, TIME_COLUMNS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "schema.md"
COLUMNS = [(table, column) for table in TABLES.values() for column in table.columns]
UNITS = {"ns": r"(?<!_block)_ns$", "tokens": r"_tokens$|^expert_load$", "blocks": r"_blocks$", "blocks*ns": r"_block_ns$",
         "mJ": r"_mj$", "requests": r"^(running|waiting\w*|preempted)$"}
"""Unit -> what the names of its columns look like: names carry their units."""


def cells(line: str) -> list[str]:
    """The cells of one row of a Markdown table."""
    return [cell.strip().replace("\\|", "|").replace("&lt;", "<") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_the_page_is_what_the_contract_generates(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--markdown"]) == 0
    assert PAGE.read_text(encoding="utf-8") == capsys.readouterr().out == as_markdown()


def test_the_page_has_every_column_with_type_unit_meaning_and_source() -> None:
    """Read back from the page, row by row: nothing that Markdown swallows, nothing left out."""
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert [section.split("\n")[0] for section in sections] == list(TABLES)
    for section, table in zip(sections, TABLES.values(), strict=True):
        rows = [cells(line) for line in section.splitlines() if line.startswith("| `")]
        assert rows == [[f"`{column.name}`", type_name(column), column.unit, column.meaning, column.source]
                        for column in table.columns]
        assert table.row in section and ", ".join(table.sorted_by) in section


def test_programs_and_people_get_the_same_contract() -> None:
    told = json.loads(as_json())
    assert told["version"] == schema.SCHEMA_VERSION
    assert {table["name"]: table["partitioned_by"] for table in told["tables"]} == {
        name: HOUR if name in TIME_COLUMNS else None for name in TABLES}
    assert [(table["name"], column["name"], column["unit"], column["source"])
            for table in told["tables"] for column in table["columns"]] == [
        (table.name, column.name, column.unit, column.source) for table, column in COLUMNS]
    text = as_text()
    assert all(f"{table.name}: one row is {table.row}" in text for table in TABLES.values())
    assert text.count("\n  ") == len(COLUMNS)


def test_every_column_says_what_it_means_and_where_it_comes_from() -> None:
    assert [f"{table.name}.{column.name}" for table, column in COLUMNS if not column.meaning or not column.source] == []


def test_names_carry_their_units() -> None:
    """A column has a unit exactly when its name says so."""
    for table, column in COLUMNS:
        by_name = [unit for unit, pattern in UNITS.items() if re.search(pattern, column.name)]
        assert by_name == ([column.unit] if column.unit else []), f"{table.name}.{column.name}"


def test_tables_are_sorted_and_cut_by_columns_that_they_have() -> None:
    for table in TABLES.values():
        assert set(table.sorted_by) <= set(table.arrow.names)
        assert len(set(table.arrow.names)) == len(table.columns)
    assert all(TABLES[name].column(column).unit == "ns" for name, column in TIME_COLUMNS.items())


def test_the_phases_are_columns_of_spans_and_requests_in_their_order() -> None:
    for table in (SPANS, REQUESTS):
        assert [name for name in table.arrow.names if name in PHASES] == PHASES


def test_an_unknown_column_is_named_with_its_table() -> None:
    with pytest.raises(KeyError, match="table spans has no column 'speed'"):
        SPANS.column("speed")
