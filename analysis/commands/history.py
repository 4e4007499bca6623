"""``flashover history``: what weeks of outages have in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from collectors import console
from collectors.store import Store

_DAYS = "Mon Tue Wed Thu Fri Sat Sun".split()


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return console.run(history, argv, "history")


def history(
    sources: Annotated[list[str], typer.Argument(metavar="MARKS.csv|STORE ...", help="status marks, or stores with outages")],
    utc_offset: Annotated[float, typer.Option("--utc-offset", help="hours from UTC of the place whose day counts")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Frequency, length, hours and relapses over weeks of status marks (CSV with start_epoch, end_epoch) and stores."""
    from analysis.history import Mark, patterns, read_marks

    marks: list[Mark] = []
    for source in sources:
        marks += read_marks(Path(source)) if source.endswith(".csv") else _of_store(source)
    found = patterns(marks, utc_offset)
    print(json.dumps(found, indent=1) if as_json else "\n".join(_lines(found)))


def _of_store(source: str) -> list[Any]:
    from analysis.history import Mark
    from analysis.investigate import investigate

    with Store.open(source) as store:
        console.say(f"investigating {source} ...")
        impact = investigate(store).impact
    bad = [phase for phase in impact.phases if phase.state in ("outage", "degraded", "relapse")]
    return [Mark(phase.start / 1e9, phase.end / 1e9) for phase in bad]


def _lines(found: dict[str, Any]) -> list[str]:
    minutes, relapse, hours = found["minutes"], found["relapse"], found["hours"]
    low, high = relapse["ratio_interval"]
    lines = [
        f"{found['outages']} outages from {found['from']} to {found['to']}, {found['down_hours']} hours in all",
        f"length      median {minutes['median']} min, nine in ten up to {minutes['p90']} min, longest {minutes['longest']} min",
        f"relapses    {relapse['seen']} began within a day of the end of another one; {relapse['expected']} would by chance",
    ]
    if relapse["ratio"] is not None:
        lines[-1] += f": {relapse['ratio']} times ({low} to {high})"
    lines += [
        (f"hours       most about {hours['centre']:g} h (UTC{hours['utc_offset']:+g}), concentration "
         f"{hours['concentration']} of 1, by chance {hours['chance']:.2g}"),
        "            " + " ".join(f"{hour:02d}:{count}" for hour, count in enumerate(hours["begun"]) if count),
        "weekdays    " + " ".join(f"{day}:{count}" for day, count in zip(_DAYS, found["weekdays"], strict=True)),
    ]
    lines += [f"from {one['from'][:10]}  {one['outages_a_week']} outages a week" for one in found["changes"]]
    rows = [(f"  {name}", f"{one['outages']:g} outages", f"{one['down_hours']} h") for name, one in found["components"].items()]
    return lines + ([console.columns(rows)] if rows else [])
