"""``flashover incidents``: what the library holds."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from collectors import console
from incidents.library_index import incidents


def show(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """List the incidents of the library."""
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
