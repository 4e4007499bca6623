"""``flashover counterfactual STORE``: play it again without what the analysis names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from analysis.investigate import investigate
from collectors import console
from collectors.store import Store
from incidents.counterfactual import counterfactual, read_lock
from incidents.parallel import workers

Where = Annotated[Path, typer.Argument(metavar="STORE", help="a store that flashover replay made")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="how many seeds, from the scenario's own on")]
Jobs = Annotated[int, typer.Option("--jobs", min=0, help="runs at a time; 0: one a core")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def run(store: Where, seeds: Seeds = 3, jobs: Jobs = 0, as_json: Json = False) -> int:
    """Share of bad seconds avoided without the named trigger, without each amplifier, and with the loop cut."""
    scenario = read_lock(store)
    with Store.open(store) as tables:
        console.say(f"investigating {store} ...")
        answer = investigate(tables)
    with console.progress("replays", 1.0) as advance:
        effects = counterfactual(
            scenario, answer, range(scenario.seed, scenario.seed + seeds), jobs=workers(jobs),
            on_done=lambda done, total: advance(done / total),
        )
    if as_json:
        print(json.dumps([dataclasses.asdict(one) for one in effects], indent=1))
        return console.DONE
    rows = [("role", "what", "taken away", "bad seconds avoided")]
    for one in effects:
        share = "-" if one.avoided is None else "{:.0%} ({:.0%} to {:.0%})".format(*one.avoided)
        rows.append((one.role, f"{one.entity} {one.mechanism}", one.how, share))
    print(console.columns(rows))
    return console.DONE


def main(argv: list[str]) -> int:
    """Run the verb."""
    return console.run(run, argv, "counterfactual")
