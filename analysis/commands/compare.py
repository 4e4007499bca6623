"""``flashover compare A B``: two incidents side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from collectors import console
from collectors.errors import BadInput
from collectors.store import Store


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return console.run(compare, argv, "compare")


def compare(
    one: Annotated[str, typer.Argument(metavar="A", help="a store, or an investigation.json")],
    other: Annotated[str, typer.Argument(metavar="B", help="another one")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Show what two incidents share (=) and where they differ (!)."""
    from analysis.compare import as_json as machine
    from analysis.compare import rows

    documents = [_document(source) for source in (one, other)]
    if as_json:
        print(json.dumps(machine(*documents), indent=1))
        return
    print(console.columns([("", one, other, ""), *rows(*documents)]))


def _document(source: str) -> dict[str, Any]:
    from analysis.investigate import investigate

    if source.endswith(".json"):
        try:
            document: dict[str, Any] = json.loads(Path(source).read_text(encoding="utf-8"))
            if document["version"] != 1:
                raise BadInput(f"{source}: version = {document['version']!r} is not known; use the Flashover that wrote it")
        except (OSError, ValueError, KeyError, TypeError) as error:
            fix = "flashover investigate STORE --out DIR writes one"
            raise BadInput(f"{source}: is no investigation ({error}); {fix}") from error
        return document
    with Store.open(source) as store:
        console.say(f"investigating {source} ...")
        return json.loads(investigate(store).document())  # type: ignore[no-any-return]
