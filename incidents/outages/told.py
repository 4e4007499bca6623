"""A public outage and its explanations in words: the marks with their sources, distances in minutes, what stays open."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from incidents.outages.compare import Compared
from incidents.outages.record import Hypothesis, Outage
from incidents.outages.states import Stretch

_WIDE = 118


def shown(outage: Outage) -> str:
    """What is officially known, and which explanations there are."""
    return "\n".join([*_head(outage), *(line for one in outage.hypotheses for line in _claim(one)), *_open(outage)])


def compared(outage: Outage, found: Sequence[Compared]) -> str:
    """The comparison: a table, then each explanation with what was seen of it."""
    names = [mark.name for mark in outage.marks if mark.event]
    lines = [*_head(outage), *_table(outage, found)]
    for hypothesis in outage.hypotheses:
        own = [one for one in found if one.hypothesis == hypothesis.name]
        if not own:
            continue
        lines += _claim(hypothesis)
        for one in own:
            for component, seen in one.states.items():
                lines += _wrapped(f"seed {one.seed}, {component}: {_course(outage, seen)}", "    ")
            lines += _wrapped(f"seed {one.seed}: {verdict(hypothesis, one, names, outage.tolerance_min)}", "    ")
    return "\n".join([*lines, *_open(outage), *_alike(found)])


def as_json(outage: Outage, found: Sequence[Compared]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "title": outage.title, "scale": " ".join(outage.scale.split()), "tolerance_min": outage.tolerance_min,
        "marks": [mark.model_dump(mode="json") for mark in outage.marks],
        "hypotheses": [one.model_dump(mode="json", include={"name", "claim", "standing", "source", "given", "handed", "free"})
                       for one in outage.hypotheses],
        "compared": [one.as_dict() for one in found], "undecidable": list(outage.undecidable),
    }  # fmt: skip


def verdict(hypothesis: Hypothesis, one: Compared, names: Sequence[str], tolerance_min: float) -> str:
    """Whether it reproduces the marks, and what is wrong where it does not."""
    if one.reproduces is None:
        return "no official mark to compare with"
    wrong = [f"no {name}" if off is None else f"{name} {off:+.0f} min" for name, off in zip(names, one.off_min, strict=True)
             if off is None or abs(off) > tolerance_min]  # fmt: skip
    wrong += [f"{len(one.extra)} outages more"] if one.extra else []
    wrong += [f"{component} was not operational throughout" for component, calm in one.calm.items() if not calm]
    emerged = [name for name in names if name not in hypothesis.handed]
    if one.reproduces:
        return f"reproduces the marks; not handed to it: {', '.join(emerged) or 'none of them'}"
    return f"does not reproduce the marks: {', '.join(wrong)}"


def _head(outage: Outage) -> list[str]:
    lines = [outage.title, "", *_wrapped(outage.about), "", *_wrapped(f"Scale: {outage.scale}"), ""]
    if outage.marks:
        lines.append(f"Official marks ({outage.start:%Z})")
    lines += [f"  {mark.at:%m-%d %H:%M}  {mark.component:<5} {mark.state:<12} {mark.source}" for mark in outage.marks]
    return [*lines, ""]


def _table(outage: Outage, found: Sequence[Compared]) -> Iterator[str]:
    marks = [mark for mark in outage.marks if mark.event]
    if not marks:
        return
    widths = [max(len(mark.name), 6) for mark in marks]
    handed = {one.name: one.handed for one in outage.hypotheses}
    left = max(len(one.hypothesis) for one in found) + 9
    yield f"{'':<{left}}" + "  ".join(f"{mark.name:>{w}}" for mark, w in zip(marks, widths, strict=True)) + "  reproduces"
    yield f"{'':<{left}}" + "  ".join(f"{mark.at:%H:%M}".rjust(w) for mark, w in zip(marks, widths, strict=True))
    for one in found:
        cells = [_cell(off, mark.name in handed[one.hypothesis]) for off, mark in zip(one.off_min, marks, strict=True)]
        row = "  ".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        yield f"{one.hypothesis + ', seed ' + str(one.seed):<{left}}{row}  {'yes' if one.reproduces else 'no'}"
    yield ""
    yield from _wrapped(f"Minutes from the mark to the event that meets it; {outage.tolerance_min:g} at most reproduce it. In "
                        "brackets: the scenario was handed the time. A dash: nothing meets it.")  # fmt: skip
    yield ""


def _cell(off: float | None, handed: bool) -> str:
    text = "-" if off is None else f"{off:+.0f}"
    return f"({text})" if handed else text


def _claim(one: Hypothesis) -> Iterator[str]:
    yield from _wrapped(f"{one.name}: {one.claim}")
    yield from _wrapped(f"{one.standing}: {one.source}", "    ")
    yield from _wrapped(f"given: {one.given}. Chosen by us: {one.free}.", "    ")


def _course(outage: Outage, seen: Sequence[Stretch]) -> str:
    return ", ".join(f"{outage.start + timedelta(seconds=one.at_s):%H:%M} {one.state}" for one in seen)


def _open(outage: Outage) -> Iterator[str]:
    yield ""
    yield "What public data cannot decide"
    for text in outage.undecidable:
        yield from _wrapped(f"- {text}", "  ")


def _alike(found: Sequence[Compared]) -> Iterator[str]:
    """Explanations that do equally well are not told apart by the marks."""
    right = sorted({one.hypothesis for one in found if one.reproduces})
    if len(right) > 1:
        yield from _wrapped(f"- which of those that reproduce the marks it was: {', '.join(right)}", "  ")


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _WIDE, initial_indent=indent, subsequent_indent=indent + "  " * bool(indent))
