"""``flashover replay``: run one incident, or any scenario file, on the engine and fill a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from collectors import console
from incidents.library_index import scenario_path
from incidents.replay import replay
from instrumented_engine.scenario import load_scenario

Name = Annotated[str, typer.Argument(metavar="SLUG|SCENARIO.toml", help="an incident of the library, or a file")]
Out = Annotated[Path, typer.Option("--out", metavar="STORE", help="a new folder for the store")]
Seed = Annotated[int | None, typer.Option("--seed", help="other luck: arrivals within their quantum, ids, back-off")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="dotted.key=value, TOML syntax")]
Runner = Annotated[Literal["torch", "recorded"], typer.Option("--runner", help="compute every token, or sample")]
Trace = Annotated[Path | None, typer.Option("--workload", metavar="FILE", help="another trace, .zst or plain")]
Compress = Annotated[float | None, typer.Option("--compress", help="play the trace so many times faster")]


def run(
    name: Name,
    out: Out,
    seed: Seed = None,
    overrides: Overrides = None,
    runner: Runner = "recorded",
    workload: Trace = None,
    compress: Compress = None,
) -> None:
    """Run a scenario on the engine under the virtual clock and fill a store with its telemetry."""
    settings = list(overrides or [])
    if seed is not None:
        settings.append(f"seed={seed}")
    if workload is not None:
        settings.append(f"workload.file={str(workload)!r}")
    if compress is not None:
        settings.append(f"workload.compress={compress}")
    scenario = load_scenario(scenario_path(name), settings)
    with console.progress(f"replaying {name}", scenario.warm_up_s + scenario.duration_s) as advance:
        done = replay(scenario, out, runner, on_progress=advance)
    console.say(f"{done.requests} requests replayed, {done.clipped} clipped; OTLP bodies sha256 {done.sha256}")
    print(done.store)


def main(argv: list[str]) -> int:
    """Run the verb."""
    return console.run(run, argv, "replay")
