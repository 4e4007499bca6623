"""``flashover sql STORE "SELECT ..."``: read-only SQL over any store."""

from __future__ import annotations

import csv
import json
import sys
from typing import Annotated, Any

import pyarrow as pa
import typer

from collectors import console
from collectors.errors import BadInput
from collectors.read_only_sql import read_only
from collectors.store import Store


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return console.run(run_sql, argv, "sql")


def run_sql(
    store: Annotated[str, typer.Argument(help="telemetry folder or sealed .duckdb")],
    query: Annotated[str, typer.Argument(help="one single SELECT; flashover schema prints the tables")],
    as_json: Annotated[bool, typer.Option("--json", help="print a JSON list of objects")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV with a header")] = False,
) -> None:
    """Run one SELECT over a store and print its rows: a table of text, or --json, or --csv."""
    if as_json and as_csv:
        raise BadInput("--json and --csv exclude each other; give one")
    with Store.open(store) as source:
        for warning in source.warnings:
            console.say(f"flashover sql: warning: {warning}")
        rows = read_only(source, query)
    if as_json:
        print_json(rows)
    elif as_csv:
        print_csv(rows)
    else:
        print_text(rows)


def print_json(rows: pa.Table) -> None:
    """A JSON list with one object a row; what JSON does not know (binary, decimals, times) as text."""
    print(json.dumps(rows.to_pylist(maps_as_pydicts="lossy"), default=_text, ensure_ascii=False, indent=1))


def print_csv(rows: pa.Table) -> None:
    """CSV with a header; NULL is an empty cell, lists and maps are JSON."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(rows.column_names)
    writer.writerows(_cells(rows, ""))


def print_text(rows: pa.Table) -> None:
    """Columns of text under a header, for people."""
    names = [tuple(rows.column_names)]
    lines = [tuple(" ".join(cell.split()) for cell in cells) for cells in _cells(rows, "NULL")]
    print(console.columns([*names, *lines]))


def _cells(rows: pa.Table, null: str) -> list[list[str]]:
    columns = [column.to_pylist(maps_as_pydicts="lossy") for column in rows.columns]
    return [[null if value is None else _text(value) for value in row] for row in zip(*columns, strict=True)]


def _text(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return json.dumps(value, default=_text, ensure_ascii=False)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
