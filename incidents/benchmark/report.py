"""The figures as a table, as JSON, and as one HTML page that needs nothing else."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Mapping, Sequence
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
    head, *rows = _table(found)
    states, *answers = _notes(found)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join([_lined(lines), "", states, "", *(f"- {line}" for line in answers)]) + "\n"


def curves(rows: Sequence[Row]) -> dict[str, Any]:
    """For robustness: figures by what telemetry suffered, over cases that were outages; NaN is null."""
    found: dict[str, Any] = {}
    for blemish in dict.fromkeys(row["blemish"] for row in rows):
        part = [row for row in rows if row["blemish"] == blemish]
        right = {method: list(_plain(method_figures(part, method))["top1"]) for method in (OURS, *BASELINES)}
        answer = _plain(answer_figures(part))
        found[blemish or "as it was"] = {
            "outages": sum(row["state"] == "outage" for row in part), "top1": right,
            **{name: answer[name] for name in ("abstained", "wrong_but_sure", "onset_error_s")},
        }  # fmt: skip
    return found


def curve_table(found: dict[str, Any]) -> str:
    """The same as a table: ours, how it fails, and the best of the baselines that look at telemetry."""
    looking = [name for name in BASELINES if name not in ("chance", "constant prior")]
    best = max(looking, key=lambda name: sum(one["top1"][name][0] or 0.0 for one in found.values()))
    lines = [["telemetry", "Flashover AC@1", "abstained", "wrong but sure", "onset error, s", f"{best} AC@1"], ["---"] * 6]
    for blemish, one in found.items():
        figures = [one["top1"][OURS], one["abstained"], one["wrong_but_sure"], one["onset_error_s"], one["top1"][best]]
        lines.append([blemish, *map(cell, figures)])
    return _lined(lines)


def public_table(figures: Mapping[str, Figures]) -> str:
    """The figures of public data as a table: methods, and what each scored."""
    names = {"top1": "AC@1", "top3": "AC@3", "avg5": "Avg@5", "specificity": "specificity", "cpu_s_per_case": "CPU s a case"}
    lines = [["method", *names.values()], ["---"] * (1 + len(names))]
    for method in (OURS, *BASELINES):
        plain = _plain(figures[method])
        lines.append([method, *(cell(plain.get(name, (None, None, None))) for name in names)])
    return _lined(lines)


def _lined(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("|" + "|".join(f" {part} " if part != "---" else part for part in line) + "|" for line in lines)


def page(found: dict[str, Any]) -> str:
    """One HTML page."""
    head, *rows = _table(found)
    table = "".join(_row(line, tag) for tag, lines in (("th", [head]), ("td", rows)) for line in lines)
    notes = "".join(f"<p>{html.escape(line)}</p>" for line in _notes(found))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Flashover benchmark</title><style>"
        ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
        "table{border-collapse:collapse}td,th{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #8886}"
        "td:first-child,th:first-child{text-align:left}</style>"
        f"<h1>Flashover benchmark</h1><p>{found['cases']} cases. Mean and 95 % bootstrap interval; ties count against a method."
        f"</p><table>{table}</table>{notes}</html>\n"
    )


def _table(found: dict[str, Any]) -> list[list[str]]:
    """Cells by row, the head first."""
    splits = found["splits"]
    rows = [["method", *(text for name in splits for text in (f"{name}: AC@1", "Avg@5"))]]
    for method in (OURS, *BASELINES):
        figures = [split["methods"][method][figure] for split in splits.values() for figure in ("top1", "avg5")]
        rows.append([method, *map(cell, figures)])
    return rows


def _notes(found: dict[str, Any]) -> list[str]:
    """What stands below: the states of the cases, then a line for each split of what only answers are scored on."""
    splits = found["splits"]
    states = [f"{name}: " + ", ".join(f"{n} {state}" for state, n in split["states"].items()) for name, split in splits.items()]
    answers = [f"{name}: " + ", ".join(f"{key} {cell(value)}" for key, value in split["answer"].items())
               for name, split in splits.items()]  # fmt: skip
    return [f"Cases: {'; '.join(states)}.", *answers]


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in cells) + "</tr>"


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
