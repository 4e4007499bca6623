"""``flashover incidents``: what the library holds."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from collectors import console
from incidents.library_index import incidents
from instrumented_engine.mechanism_page import mechanisms_page


def show(
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    mechanisms: Annotated[
        bool, typer.Option("--mechanisms", help="print the page docs/mechanisms.md: what scenarios can switch")
    ] = False,
) -> None:
    """List the incidents of the library."""
    if mechanisms:
        print(mechanisms_page(), end="")
        return
    rows = [{"slug": i.slug, "title": i.scenario.title, "minutes": i.scenario.duration_s / 60,
             "replicas": i.scenario.cluster.replicas} for i in incidents()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{row['slug']:<24} {row['title']}  ({row['minutes']:g} min, {row['replicas']} replicas)")


def main(argv: list[str]) -> int:
    """Run the verb."""
    return console.run(show, argv, "incidents")
