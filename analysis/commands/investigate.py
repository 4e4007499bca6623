"""``flashover investigate STORE``: what set an outage off, what fed it, what kept it burning."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from collectors import console
from collectors.durable import replace_file
from collectors.errors import BadInput
from collectors.store import Store


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return console.run(investigate_store, argv, "investigate")


def investigate_store(
    store: Annotated[str, typer.Argument(help="telemetry folder or sealed .duckdb")],
    start: Annotated[str | None, typer.Option("--from", help="start of the window, like 2026-03-29T13:35:00Z")] = None,
    end: Annotated[str | None, typer.Option("--to", help="end of the window, not in it")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the document of docs/investigation.schema.json")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="also write DIR/investigation.json")] = None,
    explain: Annotated[str | None, typer.Option("--explain", metavar="HYPOTHESIS",
                                                help="also weigh one hypothesis, part by part: [ENTITY ]MECHANISM")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="again and again while telemetry arrives, until Ctrl-C")] = False,
    every: Annotated[float, typer.Option("--every", min=1.0, help="seconds between two looks of --follow")] = 30.0,
) -> None:
    """Investigate all a store holds, or a window of it, and print the answer: text, or --json."""
    from analysis.explain import explain as weigh
    from analysis.investigate import study
    from analysis.investigation import ANSWER
    from analysis.terminal import render

    window = _window(start, end)
    if follow:
        _follow(store, window, every, as_json)
        return
    with Store.open(store) as source:
        console.say(f"investigating {store} ...")
        looked = study(source, window)
        found = looked.answer
        weighed = None if explain is None else weigh(looked, explain)
    if weighed is not None:
        print(console.columns(weighed))
        return
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        replace_file(out / ANSWER, found.document().encode())
        console.say(f"wrote {out / ANSWER}")
    print(found.document() if as_json else render(found), end="" if as_json else "\n")


def _follow(store: str, window: tuple[int, int] | None, every: float, as_json: bool) -> None:
    """Print an answer when its first line changes: a line with --json, else the whole text. The store is opened anew each time,
    as what it holds grows."""
    from analysis.investigate import investigate
    from analysis.terminal import heading, render

    said = ""
    while True:
        with Store.open(store) as source:
            found = investigate(source, window)
        verdict = heading(found).partition(": ")[2]
        if verdict != said:
            said = verdict
            print(json.dumps(found.to_json()) if as_json else render(found) + "\n", flush=True)
        time.sleep(every)


def _window(start: str | None, end: str | None) -> tuple[int, int] | None:
    """The window in ns UTC; an end that is not given is open."""
    if start is None and end is None:
        return None
    low = console.instant("--from", start) or 0
    high = 2**63 - 1 if end is None else console.instant("--to", end) or 0
    if high <= low:
        raise BadInput(f"--from {start} --to {end}: the window ends before it starts; exchange them")
    return low, high
