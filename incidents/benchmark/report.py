"""The figures as a table, as JSON, and as one HTML page that needs nothing else."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from incidents.benchmark.baselines import BASELINES
from incidents.benchmark.outcome import OURS
from incidents.benchmark.scores import Figures, answer_figures, method_figures
from incidents.benchmark.sweep import Row

SPLITS = ("train", "between", "test")


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """All figures by split, for ``--json``; NaN is null."""
    splits = {name: [row for row in rows if row["split"] == name] for name in SPLITS}
    return {
        "cases": len(rows),
        "splits": {
            name: {
                "cases": len(part), "states": dict(sorted(Counter(row["state"] for row in part).items())),
                "methods": {method: _plain(method_figures(part, method)) for method in (OURS, *BASELINES)},
                "answer": _plain(answer_figures(part)),
            }
            for name, part in splits.items() if part
        },
    }  # fmt: skip


def markdown(found: dict[str, Any]) -> str:
    """The table of a README: methods by splits."""
    names = list(found["splits"])
    lines = ["| method | " + " | ".join(f"{name}: AC@1 | Avg@5" for name in names) + " |",
             "|---|" + "---|---|" * len(names)]
    for method in (OURS, *BASELINES):
        cells = [cell(found["splits"][name]["methods"][method][figure]) for name in names for figure in ("top1", "avg5")]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    states = "; ".join(f"{name}: " + ", ".join(f"{n} {state}" for state, n in found["splits"][name]["states"].items())
                       for name in names)  # fmt: skip
    extra = [f"{name}: " + ", ".join(f"{key} {cell(value)}" for key, value in found["splits"][name]["answer"].items())
             for name in names]  # fmt: skip
    return "\n".join([*lines, "", f"Cases: {states}.", "", *(f"- {line}" for line in extra)]) + "\n"


def page(found: dict[str, Any]) -> str:
    """One HTML page."""
    rows = []
    for line in markdown(found).splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            tag = "th" if line.startswith("| method") else "td"
            rows.append("<tr>" + "".join(f"<{tag}>{html.escape(part.strip())}</{tag}>" for part in line.strip("|").split("|"))
                        + "</tr>")  # fmt: skip
    notes = "".join(f"<p>{html.escape(line.lstrip('- '))}</p>" for line in markdown(found).splitlines()
                    if line and not line.startswith("|"))  # fmt: skip
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Flashover benchmark</title><style>"
        ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
        "table{border-collapse:collapse}td,th{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #8886}"
        "td:first-child,th:first-child{text-align:left}</style>"
        f"<h1>Flashover benchmark</h1><p>{found['cases']} cases. Mean and 95 % bootstrap interval; ties count against a method."
        f"</p><table>{''.join(rows)}</table>{notes}</html>\n"
    )


def cell(figure: Sequence[float | None]) -> str:
    """``.42 [.30, .55]``; a dash for nothing."""
    mean, low, high = figure
    if mean is None:
        return "-"
    if low is None or high is None:
        return _short(mean)
    return f"{_short(mean)} [{_short(low)}, {_short(high)}]"


def _short(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.1f}"


def _plain(figures: Figures) -> dict[str, list[float | None]]:
    return {name: [None if math.isnan(v) else round(v, 4) for v in figure] for name, figure in figures.items()}
