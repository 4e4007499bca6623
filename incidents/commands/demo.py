"""``flashover demo``: an outage of a small MoE fleet, and what Flashover says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from collectors import console, settings

RunnerName = Literal["torch", "recorded"]


def run(
    seed: Annotated[int | None, typer.Option("--seed", help="other luck, same incident")] = None,
    runner: Annotated[RunnerName | None, typer.Option("--runner", help="compute every token, or sample")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="folder to fill")] = None,
) -> None:
    """Run the first incident on the engine, collect its telemetry, and say what set it off."""
    from analysis.terminal import render
    from incidents.demo import demo, demo_seconds

    folder = Path(settings.value("demo.out", None if out is None else str(out)))
    chosen: RunnerName = settings.value("demo.runner", runner)
    console.say(f"An outage is being played on the {chosen} runner under the virtual clock ...")
    with console.progress("replaying", demo_seconds()) as advance:
        done = demo(folder, settings.value("demo.seed", seed), chosen, advance)
    print(render(done.investigation))
    print()
    print(f"store          {done.replayed.store}")
    print(f"sealed file    {done.sealed}")
    print(f"investigation  {done.answer}")
    console.say(f"OTLP bodies sha256 {done.replayed.sha256}")


def main(argv: list[str]) -> int:
    """Run the verb."""
    return console.run(run, argv, "demo")
