"""``flashover store check|recover STORE``: what a store holds and lacks; taking in what a crash left in its journal."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from collectors import console
from collectors.intake import recover
from collectors.store import Store


class Action(StrEnum):
    """What to do with the store."""

    check = "check"
    recover = "recover"


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return console.run(keep_store, argv, "store")


def keep_store(
    action: Annotated[Action, typer.Argument(
        help="check: print rows and warnings; recover: first decode what the journal holds")],
    store: Annotated[str, typer.Argument(help="telemetry folder; check takes a sealed .duckdb too")],
) -> int:
    """Check a store, or recover it and check it then. Prints rows of each table; exit code 1 when there are warnings."""
    if action is Action.recover:
        recover(store)
    with Store.open(store) as source:
        counts = [(name, str(source.query(f"SELECT count(*) AS n FROM {name}").column("n")[0])) for name in source.tables()]
        warnings = source.warnings
    print(console.columns(counts))
    for warning in warnings:
        console.say(f"flashover store: warning: {warning}")
    return console.FINDING if warnings else console.DONE
