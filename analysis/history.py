"""Weeks of outages together: how often, how long, at which hours, and whether an outage brings the next.

Marks come from a status page's intervals or from stores (each investigated). Marks that overlap, or follow each other within
ten minutes, are one outage. *Relapse clustering* compares how many outages begin within a day after another one ended with
what a Poisson process of the same rate would give; its interval is exact (Garwood, 1936). Hours are those of a place, since
load follows its day: a Rayleigh test says whether they cluster (Fisher, 1993). Where the outages a week changed for good is
found by PELT (``changepoints``).
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from analysis.changepoints import change_points
from collectors.errors import BadInput

JOIN_S = 600.0
RELAPSE_S = 86_400.0
WEEK_S = 7 * 86_400.0
COLUMNS = ("start_epoch", "end_epoch")
_LOGS = {"maintenance"}
"""States that are no outage."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One stretch of bad service of one component, unix seconds."""

    start_s: float
    end_s: float
    component: str = ""
    state: str = ""


def read_marks(path: Path) -> list[Mark]:
    """A CSV of intervals with the columns ``start_epoch`` and ``end_epoch`` (unix seconds), and ``component`` and
    ``official_status`` if there are any. Raises BadInput naming file, line, column and value."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or any(column not in rows[0] for column in COLUMNS):
        raise BadInput(f"{path}: needs a line of names with {' and '.join(COLUMNS)} and at least one line of values")
    marks = []
    for number, row in enumerate(rows, start=2):
        try:
            start_s, end_s = (float(row[column]) for column in COLUMNS)
        except (TypeError, ValueError) as error:
            raise BadInput(f"{path}: line {number}: {error}; give unix seconds in {' and '.join(COLUMNS)}") from error
        if not (math.isfinite(start_s) and math.isfinite(end_s) and end_s >= start_s):
            raise BadInput(f"{path}: line {number}: end_epoch = {end_s:g} lies before start_epoch = {start_s:g}; exchange them")
        marks.append(Mark(start_s, end_s, row.get("component") or "", row.get("official_status") or ""))
    return [mark for mark in marks if mark.state not in _LOGS]


def outages(marks: Iterable[Mark]) -> list[Mark]:
    """Marks joined into outages, in order."""
    joined: list[Mark] = []
    for mark in sorted(marks, key=lambda one: (one.start_s, one.end_s)):
        if joined and mark.start_s <= joined[-1].end_s + JOIN_S:
            joined[-1] = Mark(joined[-1].start_s, max(joined[-1].end_s, mark.end_s))
        else:
            joined.append(Mark(mark.start_s, mark.end_s))
    return joined


def patterns(marks: Sequence[Mark], hours_from_utc: float = 0.0) -> dict[str, Any]:
    """What the outages have in common, as JSON. Raises BadInput for none."""
    found = outages(marks)
    if not found:
        raise BadInput("no outage in what was given; give marks of bad service, or stores that hold one")
    begins = np.array([one.start_s for one in found])
    minutes = np.array([(one.end_s - one.start_s) / 60 for one in found])
    span_s = max(found[-1].end_s - found[0].start_s, 1.0)
    place = timezone(timedelta(hours=hours_from_utc))
    hours = [datetime.fromtimestamp(one.start_s, place).hour for one in found]
    return {
        "outages": len(found), "from": _iso(found[0].start_s), "to": _iso(found[-1].end_s),
        "down_hours": round(float(minutes.sum()) / 60, 2),
        "minutes": {name: round(float(np.quantile(minutes, q)), 1) for name, q in
                    (("median", 0.5), ("p90", 0.9), ("longest", 1.0))},
        "relapse": _relapse(found, span_s),
        "hours": {"utc_offset": hours_from_utc, "begun": [Counter(hours)[hour] for hour in range(24)], **_rayleigh(hours)},
        "weekdays": [Counter(datetime.fromtimestamp(one.start_s, place).weekday() for one in found)[day] for day in range(7)],
        "changes": _changes(begins),
        "components": {name: _component([mark for mark in marks if mark.component == name])
                       for name in sorted({mark.component for mark in marks if mark.component})},
    }  # fmt: skip


def _relapse(found: Sequence[Mark], span_s: float) -> dict[str, Any]:
    """Outages begun within a day after another one ended; expected: what the same number gives when thrown evenly."""
    soon = sum(later.start_s - earlier.end_s <= RELAPSE_S for earlier, later in pairwise(found))
    quiet_s = max(span_s - sum(one.end_s - one.start_s for one in found), 1.0)
    expected = (len(found) - 1) * -math.expm1(-(len(found) - 1) / quiet_s * RELAPSE_S)
    low, high = _poisson_interval(soon)
    times = [None if expected == 0 else round(value / expected, 2) for value in (low, soon, high)]
    return {"within_s": RELAPSE_S, "seen": soon, "expected": round(expected, 2), "ratio": times[1],
            "ratio_interval": [times[0], times[2]]}  # fmt: skip


def _poisson_interval(count: int) -> tuple[float, float]:
    """95 % interval of a Poisson mean after ``count``: Byar's approximation of Garwood's exact one, good to 1 % from 1 on."""
    low = 0.0 if count == 0 else count * (1 - 1 / (9 * count) - 1.96 / (3 * math.sqrt(count))) ** 3
    more = count + 1
    return max(low, 0.0), more * (1 - 1 / (9 * more) + 1.96 / (3 * math.sqrt(more))) ** 3


def _rayleigh(hours: Sequence[int]) -> dict[str, float]:
    """Mean direction (hour), its length from 0 (even) to 1, and the probability of one so long by chance."""
    angles = np.array(hours) / 24 * 2 * math.pi
    vector = complex(float(np.cos(angles).mean()), float(np.sin(angles).mean()))
    n, length = len(hours), abs(vector)
    z = n * length**2
    p = math.exp(-z) * (1 + (2 * z - z * z) / (4 * n))
    centre = math.atan2(vector.imag, vector.real) % (2 * math.pi) / (2 * math.pi) * 24
    return {"centre": round(centre, 1), "concentration": round(length, 3), "chance": round(min(max(p, 0.0), 1.0), 4)}


def _changes(begins: np.ndarray[Any, np.dtype[np.float64]]) -> list[dict[str, Any]]:
    """Weeks from which on there were more or fewer outages a week."""
    weeks = np.bincount(((begins - begins[0]) // WEEK_S).astype(int)).astype(float)
    edges = [0, *change_points(weeks), len(weeks)]
    return [
        {"from": _iso(begins[0] + first * WEEK_S), "outages_a_week": round(float(weeks[first:last].mean()), 2)}
        for first, last in pairwise(edges)
    ]


def _component(marks: Sequence[Mark]) -> dict[str, float]:
    found = outages(marks)
    return {"outages": len(found), "down_hours": round(sum(one.end_s - one.start_s for one in found) / 3600, 2)}


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
