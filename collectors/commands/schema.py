"""``flashover schema``: the telemetry contract, printed from ``collectors/schema.py``."""

from __future__ import annotations

from typing import Annotated

import typer

from collectors import console
from collectors.errors import BadInput
from collectors.schema_page import as_json, as_markdown, as_text


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return console.run(print_schema, argv, "schema")


def print_schema(
    to_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    to_markdown: Annotated[bool, typer.Option("--markdown", help="print the page docs/schema.md")] = False,
) -> None:
    """Print every table that a store has: columns, types, units, meanings, and the names they come from."""
    if to_json and to_markdown:
        raise BadInput("--json and --markdown exclude each other; give one")
    print(as_json() if to_json else as_markdown() if to_markdown else as_text(), end="")
