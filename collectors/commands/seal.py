"""``flashover seal STORE FILE.duckdb``: a window of a store as one portable file."""

from __future__ import annotations

from typing import Annotated

import typer

from collectors import console
from collectors.seal import seal
from collectors.store import Store


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return console.run(seal_store, argv, "seal")


def seal_store(
    store: Annotated[str, typer.Argument(help="telemetry folder or sealed .duckdb to read")],
    file: Annotated[str, typer.Argument(help="the .duckdb file to write; it must not exist")],
    start: Annotated[str | None, typer.Option("--from", help="start of the window, like 2026-03-29T13:35:00Z")] = None,
    end: Annotated[str | None, typer.Option("--to", help="end of the window, not in it")] = None,
) -> None:
    """Write the rows of a window (all without one) to one .duckdb file, and print how many of each table."""
    start_ns, end_ns = console.instant("--from", start), console.instant("--to", end)
    with Store.open(store) as source:
        for warning in source.warnings:
            console.say(f"flashover seal: warning: {warning}")
        rows = seal(source, file, start_ns, end_ns)
    print(console.columns([(name, str(count)) for name, count in rows.items()]))
