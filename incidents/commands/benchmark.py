"""``flashover benchmark``: how often an analysis is right, beside ten baselines, over our own cases and public data."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collectors import console
from collectors.durable import replace_file
from collectors.errors import BadInput

if TYPE_CHECKING:
    from incidents.benchmark.cases import Case


class What(StrEnum):
    """Whose cases."""

    families = "families"
    petshop = "petshop"
    rca_csv = "rca-csv"
    changepoints = "changepoints"


Cases = Annotated[What, typer.Argument(help="our families, or public data in DIR")]
Folder = Annotated[Path | None, typer.Argument(metavar="[DIR]", help="petshop, rca-csv, changepoints: where the data lies")]
Families = Annotated[list[str] | None, typer.Option("--family", help="only these; may be given again")]
Topologies = Annotated[list[str] | None, typer.Option("--topology", help="only these; may be given again")]
Severities = Annotated[list[float] | None, typer.Option("--severity", min=0.01, help="1 is canonical; may be given again")]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="how many seeds, from 1 on")]
Smoke = Annotated[bool, typer.Option("--smoke", help="two cases a family, in ten minutes")]
Robust = Annotated[bool, typer.Option("--robustness", help="training families with parts of their telemetry missing or wrong")]
Results = Annotated[Path, typer.Option("--results", metavar="FILE", help="one line a case; a sweep that was killed goes on")]
Jobs = Annotated[int, typer.Option("--jobs", min=0, help="cases at a time; 0: one a core")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="write one page as well")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def run(
    what: Cases = What.families, folder: Folder = None, family: Families = None, topology: Topologies = None,
    severity: Severities = None, seeds: Seeds = 1, smoke: Smoke = False,
    robustness: Robust = False, results: Results = Path("benchmark.jsonl"),
    jobs: Jobs = 0, page_file: Html = None, as_json: Json = False,
) -> None:
    """Sweep families, fleets, severities and seeds, and score Flashover beside ten baselines; or do so on public data."""
    if what is What.families:
        chosen = _chosen(family or [], topology or [], severity or [1.0], seeds, smoke, robustness)
        _families(chosen, robustness, results, jobs, page_file, as_json)
        return
    if folder is None:
        raise BadInput(f"flashover benchmark {what.value}: where does the data lie? give its folder")
    if not folder.is_dir():
        raise BadInput(f"{folder}: is no folder")
    with console.progress(str(folder), 1.0) as advance:
        def on_done(done: int, total: int) -> None:
            advance(done / total)

        table = _changepoints(folder, jobs, on_done) if what is What.changepoints else _ranking(what, folder, jobs, on_done)
    print(json.dumps(table[0]) if as_json else table[1])


def _chosen(
    family: list[str], topology: list[str], severity: list[float], seeds: int, smoke: bool, robustness: bool
) -> list[Case]:
    from incidents.benchmark import cases

    if robustness:
        return cases.robustness()
    return cases.smoke() if smoke else cases.grid(family, topology, severity, seeds)


def _families(
    chosen: list[Case], robustness: bool, results: Path, jobs: int, page_file: Path | None, as_json: bool
) -> None:
    from incidents.benchmark.report import curve_table, curves, markdown, page, summary
    from incidents.benchmark.sweep import sweep
    from incidents.parallel import workers

    with console.progress(f"{len(chosen)} cases", 1.0) as advance:
        rows = sweep(chosen, results, jobs=workers(jobs),
                     on_done=lambda done, total: advance(done / total))  # fmt: skip
    if robustness:
        curve = curves(rows)
        print(json.dumps(curve, indent=2) if as_json else curve_table(curve))
        return
    found = summary(rows)
    if page_file is not None:
        replace_file(page_file, page(found).encode())
    print(json.dumps(found, indent=2) if as_json else markdown(found), end="\n" if as_json else "")


def _ranking(what: What, folder: Path, jobs: int, on_done: Callable[[int, int], None]) -> tuple[dict[str, Any], str]:
    from incidents.benchmark.public.ranking import score
    from incidents.benchmark.report import public_table
    from incidents.parallel import workers

    found, figures = score(what.value, folder, jobs=workers(jobs), on_done=on_done)
    return found, public_table(figures)


def _changepoints(folder: Path, jobs: int, on_done: Callable[[int, int], None]) -> tuple[dict[str, Any], str]:
    from incidents.benchmark.public.changepoints import score
    from incidents.parallel import workers

    found, by_series = score(folder, jobs=workers(jobs), on_done=on_done)
    lines = [f"{'series':<28} {'F1':>6} {'cover':>6}   no change"]
    lines += [f"{name:<28} {one['f1']:6.3f} {one['cover']:6.3f}   {one['no_change_f1']:.3f} {one['no_change_cover']:.3f}"
              for name, one in by_series.items()]  # fmt: skip
    return found, "\n".join([*lines, f"{'mean':<28} {found['f1']:6.3f} {found['cover']:6.3f}"])


def main(argv: list[str]) -> int:
    """Run the verb."""
    return console.run(run, argv, "benchmark")
