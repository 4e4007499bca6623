"""``flashover verify``: prove an incident's labels by taking its parts away, one at a time."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from collectors import console
from incidents.library_index import scenario_path
from incidents.parallel import workers
from incidents.truth import load_truth
from incidents.verify import verify
from instrumented_engine.loading import load_scenario

Name = Annotated[str, typer.Argument(metavar="SLUG|SCENARIO.toml", help="an incident, or a file beside its truth.toml")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="how many seeds, from 1 on")]
Jobs = Annotated[int, typer.Option("--jobs", min=0, help="runs at a time; 0: one a core")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def run(name: Name, seeds: Seeds = 5, jobs: Jobs = 0, as_json: Json = False) -> int:
    """Prove an incident's labels by experiment. Exit code 1 when a label does not survive."""
    path = scenario_path(name)
    scenario = load_scenario(path)
    truth = load_truth(path.with_name("truth.toml"), scenario)
    with console.progress("experiments", 1.0) as advance:
        found = verify(
            scenario, truth, range(1, seeds + 1), jobs=workers(jobs),
            on_done=lambda done, total: advance(done / total),
        )
    if as_json:
        print(json.dumps([
            {"label": one.label, "claim": one.claim, "holds": one.holds, "held": one.held, "saw": one.saw} for one in found
        ], indent=2))
    else:
        rows = [("label", "claim", "seeds", "seen, where it failed if it did")]
        for one in found:
            seed = next((seed for seed, held in one.held.items() if not held), min(one.held))
            count = f"{sum(one.held.values())} of {len(one.held)}"
            rows.append((one.label, one.claim, count, f"{one.saw[seed]} (seed {seed})"))
        print(console.columns(rows))
    return console.DONE if all(one.holds for one in found) else console.FINDING


def main(argv: list[str]) -> int:
    """Run the verb."""
    return console.run(run, argv, "verify")
