"""``flashover benchmark``: how often an analysis is right, beside ten baselines, over cases whose labels are proven."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from collectors import console
from collectors.durable import replace_file

Families = Annotated[list[str] | None, typer.Option("--family", help="only these; may be given again")]
Topologies = Annotated[list[str] | None, typer.Option("--topology", help="only these; may be given again")]
Severities = Annotated[list[float] | None, typer.Option("--severity", min=0.01, help="1 is canonical; may be given again")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="how many seeds, from 1 on")]
Smoke = Annotated[bool, typer.Option("--smoke", help="two cases a family, in ten minutes")]
Results = Annotated[Path, typer.Option("--results", metavar="FILE", help="one line a case; a sweep that was killed goes on")]
Jobs = Annotated[int, typer.Option("--jobs", min=0, help="cases at a time; 0: one a core")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="write one page as well")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def run(
    family: Families = None, topology: Topologies = None, severity: Severities = None, seeds: Seeds = 1, smoke: Smoke = False,
    results: Results = Path("benchmark.jsonl"), jobs: Jobs = 0, page_file: Html = None, as_json: Json = False,
) -> None:
    """Sweep families, fleets, severities and seeds, and score Flashover beside ten baselines."""
    from incidents.benchmark import cases
    from incidents.benchmark.report import markdown, page, summary
    from incidents.benchmark.sweep import sweep
    from incidents.parallel import workers

    chosen = cases.smoke() if smoke else cases.grid(family or (), topology or (), severity or (1.0,), seeds)
    with console.progress(f"{len(chosen)} cases", 1.0) as advance:
        rows = sweep(chosen, results, jobs=workers(jobs),
                     on_done=lambda done, total: advance(done / total))  # fmt: skip
    found = summary(rows)
    if page_file is not None:
        replace_file(page_file, page(found).encode())
    print(json.dumps(found, indent=2) if as_json else markdown(found), end="\n" if as_json else "")


def main(argv: list[str]) -> int:
    """Run the verb."""
    return console.run(run, argv, "benchmark")
