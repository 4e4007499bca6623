"""Is a probability what it says? Reliability of the first suspect's probability, and which mechanism is taken for which.

The error is the expected calibration error in ten bins; the debiased one takes away what chance alone gives bins that hold few
cases (Kumar et al., NeurIPS 2019). Only outages count, and an abstention keeps its probability.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from incidents.benchmark.scores import RESAMPLES, right, sureness
from incidents.benchmark.sweep import Row

BINS = 10
Said = Sequence[tuple[float, bool]]
"""Probabilities of first suspects, and whether they were right."""
_SIDE, _MARGIN = 320, 44


@dataclass(frozen=True, slots=True)
class Bin:
    """Cases whose probability lies from ``low`` up to a tenth more: how many, their mean probability, the share right."""

    low: float
    cases: int
    said: float
    was: float


def suspicions(rows: Sequence[Row]) -> Said:
    """What the answers of outages said, and what was."""
    return [(sureness(row), right(row) > 0) for row in rows]


def reliability(cases: Said) -> list[Bin]:
    """The bins that hold cases."""
    said, was = np.array([one[0] for one in cases]), np.array([float(one[1]) for one in cases])
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    return [
        Bin(b / BINS, int((place == b).sum()), float(said[place == b].mean()), float(was[place == b].mean()))
        for b in sorted(set(place.tolist()))
    ]


def debiased_error(cases: Said) -> float:
    """Root mean square calibration error without the part that is chance; NaN without cases."""
    bins, total = reliability(cases), len(cases)
    if not total:
        return math.nan
    square = sum(
        one.cases / total * ((one.said - one.was) ** 2 - one.was * (1 - one.was) / max(one.cases - 1, 1)) for one in bins
    )
    return math.sqrt(max(square, 0.0))


def error_interval(cases: Said, seed: int = 1) -> tuple[float, float, float]:
    """The debiased error and its 95 % bootstrap interval over cases."""
    if not cases:
        return math.nan, math.nan, math.nan
    luck = np.random.default_rng(seed)
    draws = [debiased_error([cases[i] for i in luck.integers(0, len(cases), len(cases))]) for _ in range(RESAMPLES // 5)]
    low, high = np.percentile(draws, (2.5, 97.5)).tolist()
    return debiased_error(cases), low, high


def plot(cases: Said) -> str:
    """A reliability diagram as SVG: what was said across, what was true up, a circle's area for the number of cases."""
    size = _SIDE + 2 * _MARGIN

    def x(value: float) -> float:
        return _MARGIN + value * _SIDE

    def y(value: float) -> float:
        return _MARGIN + (1 - value) * _SIDE

    ticks = "".join(
        f'<text x="{x(v):.0f}" y="{y(0) + 18:.0f}" text-anchor="middle">{v:g}</text>'
        f'<text x="{x(0) - 8:.0f}" y="{y(v) + 4:.0f}" text-anchor="end">{v:g}</text>'
        for v in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    )
    circles = "".join(
        f'<circle cx="{x(one.said):.1f}" cy="{y(one.was):.1f}" r="{2 + 2 * math.sqrt(one.cases):.1f}" fill="#c0392b" '
        f'fill-opacity="0.6"><title>{one.cases} cases</title></circle>'
        f'<text x="{x(one.said):.1f}" y="{y(one.was) + 4:.1f}" text-anchor="middle" font-size="10">{one.cases}</text>'
        for one in reliability(cases)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" font-family="sans-serif" font-size="12">'
        f'<rect width="{size}" height="{size}" fill="white"/>'
        f'<rect x="{x(0)}" y="{y(1)}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#888"/>'
        f'<line x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}" stroke="#888" stroke-dasharray="4"/>{ticks}{circles}'
        f'<text x="{x(0.5)}" y="{y(0) + 36}" text-anchor="middle">probability of the first suspect</text>'
        f'<text x="14" y="{y(0.5)}" text-anchor="middle" transform="rotate(-90 14 {y(0.5)})">share that was right</text>'
        "</svg>\n"
    )


def confusion(rows: Sequence[Row]) -> list[tuple[str, str, int]]:
    """True mechanism, mechanism named first (or that none was), and how often; the truth in order, the most frequent first."""
    seen: Counter[tuple[str, str]] = Counter()
    for row in rows:
        answer = row["answer"]
        named = answer["triggers"][0]["mechanism"] if answer["triggers"] else "nothing"
        truth = row["truth"]["mechanisms"]
        seen[named if named in truth else truth[0], f"{named} (not claimed)" if answer["abstained"] else named] += 1
    return sorted(((*pair, count) for pair, count in seen.items()), key=lambda one: (one[0], -one[2], one[1]))
