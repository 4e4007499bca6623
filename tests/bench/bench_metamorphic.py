"""Does the answer stay where nothing that matters changed? ``python tests/bench/bench_metamorphic.py [PROCESSES]``: some 30 CPU
seconds an incident, eight minutes on two idle cores.

Plays every incident of the library (the canonical case of its family), tells its store again under every transformation of
``incidents/benchmark/metamorphic.py``, and plays its family once more on a fleet with another number of replicas. Prints how
many keep their answer and names those that do not, with what became of it; of held-out families only the sums, for nothing may
be tuned on them. The table goes into docs/analysis.md between its marks.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from analysis.investigate import investigate
from analysis.investigation import Investigation
from collectors.store import Store
from incidents.benchmark.altered import CopiedTables
from incidents.benchmark.blemishes import BLEMISHES
from incidents.benchmark.cases import Case
from incidents.benchmark.metamorphic import TRANSFORMATIONS, try_all
from incidents.benchmark.outcome import judged
from incidents.families.registry import family
from incidents.library_index import incidents
from incidents.parallel import run_all, workers

PAGE = Path(__file__).resolve().parents[2] / "docs" / "analysis.md"
BEGIN, END = "<!-- metamorphic: written by tests/bench/bench_metamorphic.py -->", "<!-- end of metamorphic -->"
OTHER_FLEET = "three replicas for four"
INVARIANTS = {one.name: one.invariant for one in TRANSFORMATIONS} | {
    OTHER_FLEET: "the family played again: same mechanism first, where users of both fared alike"
}


@dataclass(frozen=True)
class Tried:
    """One incident: for each transformation what is broken; a transformation that says nothing of it is left out."""

    slug: str
    held_out: bool
    broken: dict[str, list[str]]


def tried(slug: str) -> Tried:
    """Play, answer, transform, answer again."""
    with tempfile.TemporaryDirectory() as folder:
        here = judged(Case(slug, "four", 1.0, 1, False), BLEMISHES[""], Path(folder) / "four")
        with Store.open(here.store) as store:
            tables = CopiedTables(store)
        answer, broken = try_all(tables)
        tables.close()
        there = judged(Case(slug, "three", 1.0, 1, False), BLEMISHES[""], Path(folder) / "three")
        if here.state == there.state != "degraded":
            with Store.open(there.store) as store:
                other = investigate(store)
            same = _mechanism(answer) == _mechanism(other)
            broken[OTHER_FLEET] = [] if same else [f"{_said(answer)} became {_said(other)}"]
    return Tried(slug, family(slug).held_out, broken)


def _mechanism(answer: Investigation) -> str | None:
    return answer.triggers[0].mechanism if answer.triggers else None


def _said(answer: Investigation) -> str:
    """The first suspect in words, and whether it is claimed."""
    if not answer.triggers:
        return "nobody"
    best = answer.triggers[0]
    return f"{best.entity} {best.mechanism} ({best.probability:.2f}{', abstained' if answer.abstained else ''})"


def table(rows: list[Tried]) -> str:
    """A line for each transformation, in Markdown."""
    lines = ["| change | what must stay | training | held out |", "|---|---|---|---|"]
    for name, invariant in INVARIANTS.items():
        cells = []
        for held_out in (False, True):
            of = [row.broken[name] for row in rows if row.held_out is held_out and name in row.broken]
            cells.append(f"{sum(not broken for broken in of)} of {len(of)}")
        lines.append(f"| {name} | {invariant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def exceptions(rows: list[Tried]) -> str:
    """The training incidents whose answer does not stay, and how."""
    lines = [
        f"* {name}, {row.slug}: {broken[0]}{f', and {len(broken) - 1} more' if len(broken) > 1 else ''}"
        for name in INVARIANTS
        for row in sorted(rows, key=lambda row: row.slug)
        if not row.held_out and (broken := row.broken.get(name))
    ]
    return "\n".join(lines or ["None of the training incidents breaks any."])


def main(jobs: int) -> None:
    """Run, print, write."""
    rows: list[Tried] = []
    slugs = [one.slug for one in incidents()]

    def keep(_: str, row: Tried) -> None:
        rows.append(row)
        print(f"{len(rows)} of {len(slugs)}", file=sys.stderr)

    run_all(tried, {slug: (slug,) for slug in slugs}, jobs, keep)
    told = f"{table(rows)}\n\n{exceptions(rows)}\n"
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{told}\n{END}{rest.partition(END)[2]}")
    print(told)


if __name__ == "__main__":
    main(workers(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
