"""``flashover replay``: run one incident, or any scenario file, on the engine; fill a store or feed a collector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from collectors import console
from collectors import settings as table
from collectors.errors import BadInput
from collectors.receive.bearer import read_token
from incidents.counterfactual import write_lock
from incidents.export import HttpSink
from incidents.library_index import scenario_path
from incidents.replay import RunnerName, play, replay
from instrumented_engine.loading import load_scenario
from instrumented_engine.scenario import Scenario

Name = Annotated[str, typer.Argument(metavar="SLUG|SCENARIO.toml", help="an incident of the library, or a file")]
Out = Annotated[Path | None, typer.Option("--out", metavar="STORE", help="a new folder for the store")]
Export = Annotated[str | None, typer.Option("--export", metavar="URL", help="a collector, http://HOST:PORT, instead of --out")]
Token = Annotated[str | None, typer.Option("--token-file", metavar="FILE", help="the collector's bearer token")]
Seed = Annotated[int | None, typer.Option("--seed", help="other luck: arrivals within their quantum, ids, back-off")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="dotted.key=value, TOML syntax")]
Runner = Annotated[Literal["torch", "recorded"], typer.Option("--runner", help="compute every token, or sample")]
Trace = Annotated[Path | None, typer.Option("--workload", metavar="FILE", help="another trace, .zst or plain")]
Compress = Annotated[float | None, typer.Option("--compress", help="play the trace so many times faster")]


def run(
    name: Name,
    out: Out = None,
    export: Export = None,
    token_file: Token = None,
    seed: Seed = None,
    overrides: Overrides = None,
    runner: Runner = "recorded",
    workload: Trace = None,
    compress: Compress = None,
) -> int:
    """Run a scenario on the engine under the virtual clock and fill a store, or feed a collector, with its telemetry."""
    settings = list(overrides or [])
    if seed is not None:
        settings.append(f"seed={seed}")
    if workload is not None:
        settings.append(f"workload.file={str(workload)!r}")
    if compress is not None:
        settings.append(f"workload.compress={compress}")
    scenario = load_scenario(scenario_path(name), settings)
    if out is not None and export is None and token_file is None:
        return _into_store(name, scenario, out, runner)
    if out is None and export is not None:
        token = read_token(table.value("collect.token_file", token_file), "--token-file ")
        return _into_collector(name, scenario, export, token, runner)
    raise BadInput("give one of --out STORE and --export URL; --token-file goes with --export")


def _into_store(name: str, scenario: Scenario, out: Path, runner: RunnerName) -> int:
    with console.progress(f"replaying {name}", scenario.warm_up_s + scenario.duration_s) as advance:
        done = replay(scenario, out, runner, on_progress=advance)
    write_lock(out, scenario)
    console.say(f"{done.requests} requests replayed, {done.clipped} clipped; OTLP bodies sha256 {done.sha256}")
    print(done.store)
    return console.DONE


def _into_collector(name: str, scenario: Scenario, url: str, token: str | None, runner: RunnerName) -> int:
    """Exit code 1 when the collector did not take every record."""
    with (HttpSink(url, token, on_wait=console.say) as sink,
          console.progress(f"replaying {name}", scenario.warm_up_s + scenario.duration_s) as advance):
        done = play(scenario, sink, runner, on_progress=advance)
    console.say(f"{done.requests} requests replayed, {done.clipped} clipped; OTLP bodies sha256 {done.sha256}")
    print(sink.url)
    if sink.refused:
        console.say(f"flashover replay: warning: the collector refused {sink.refused} records: {sink.because}")
        return console.FINDING
    return console.DONE


def main(argv: list[str]) -> int:
    """Run the verb."""
    return console.run(run, argv, "replay")
