"""How often the analysis is right: ``python tests/bench/bench_analysis.py [RESULTS]``, a quarter of an hour on two cores.

Plays every family on every fleet (what ``RESULTS`` holds already is not played again) and writes the figures into
docs/analysis.md between its marks, the calibration plot beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from incidents.benchmark.calibration import confusion, error_interval, plot, suspicions
from incidents.benchmark.cases import grid
from incidents.benchmark.report import cell, markdown, summary
from incidents.benchmark.scores import outages_of
from incidents.benchmark.sweep import Row, sweep
from incidents.parallel import workers

DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN, END = "<!-- figures: written by tests/bench/bench_analysis.py -->", "<!-- end of figures -->"


def figures(rows: list[Row]) -> str:
    """The marked part of the page."""
    outages = outages_of(rows)
    held_out = [row for row in outages if row["split"] == "test"]
    lines = [BEGIN, "", markdown(summary(rows)), "### Calibration", "", "![calibration](calibration.svg)", ""]
    everywhere, tested = (cell(error_interval(suspicions(part))) for part in (outages, held_out))
    lines.append("Debiased calibration error of the first suspect's probability, with its 95 % interval: "
                 f"{everywhere} over {len(outages)} outages, {tested} over the {len(held_out)} of held-out families on held-out"
                 " fleets.")  # fmt: skip
    lines += ["", "### Mechanisms, and what they are taken for", ""]
    lines += ["| true | named first | train | between | test |", "|---|---|---|---|---|"]
    splits = {name: {one[:2]: one[2] for one in confusion([row for row in outages if row["split"] == name])}
              for name in ("train", "between", "test")}  # fmt: skip
    for true, named in sorted({pair for part in splits.values() for pair in part}, key=lambda p: (p[0], p[1] != p[0], p[1])):
        counts = [str(splits[name].get((true, named), "")) for name in splits]
        lines.append(f"| {true} | {'**right**' if true == named else named} | {' | '.join(counts)} |")
    return "\n".join([*lines, "", END])


def main(results: Path) -> None:
    """Run and write."""
    rows = sweep(grid(), results, jobs=workers(0), on_done=lambda done, total: print(f"{done} of {total}", file=sys.stderr))
    (DOCS / "calibration.svg").write_text(plot(suspicions(outages_of(rows))))
    page = DOCS / "analysis.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + figures(rows) + rest.partition(END)[2])
    print(figures(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "benchmark.jsonl"))
