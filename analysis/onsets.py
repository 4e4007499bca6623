"""When a signal left its healthy range, as an interval, and by how much.

The baseline is robust (median and MAD of healthy windows). Few windows know their own spread badly, and autocorrelated
ones are fewer than they seem, by (1 - r) / (1 + r): the threshold is that of Student's t for as many as are independent
(naive spreads over-segment: TCPD, our measurements in forensics-methods §3). A change counts only if it also matters, by
at least one *material* unit of the signal (see ``signals``), and lasts: half of the minute that follows. Fast scales are
tried first, then sums over 30 s and 60 s for noisy signals; the onset interval is as wide as the scale that saw it. From
the first deviating window the search goes back to the last quiet one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from analysis.investigation import Instant, Onset
from analysis.signals import Bins, Board, Direction, Floats, Series, Signal

SIGMAS = 3.5
"""Beyond so many standard deviations of the baseline a window deviates, if these were known for sure."""
MATERIAL = 1.0
"""And by at least so many material units."""
LASTING_S = 60.0
LARGEST = 12.0
"""Effects of deviations are cut here: beyond, more says no more."""
SCALES_S = (0.0, 30.0, 60.0)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


@dataclass(frozen=True, slots=True)
class Healthy:
    """The healthy bins ``first <= i < last``, and the mean wait of an attempt in them, the yardstick for seconds. Causes
    are looked for from bin ``since`` on. ``before``: it lies before the impact, so that a cause can be seen to begin."""

    first: int
    last: int
    wait_s: float
    since: int
    before: bool


@dataclass(frozen=True, slots=True)
class Deviation:
    """A signal of an entity off its baseline. ``effect`` in material units over the bins ``first <= i < last`` that it is
    judged by; ``value`` and ``baseline`` in the signal's own unit."""

    entity: str
    signal: Signal
    direction: Direction
    onset: Onset
    first: int
    last: int
    effect: float
    value: float
    baseline: float


def effect_of(signal: Signal, value: float, baseline: float, wait_s: float, direction: Direction) -> float:
    """How far ``value`` is from ``baseline`` in ``direction``, in material units; NaN when either is unknown."""
    if math.isnan(value) or math.isnan(baseline):
        return math.nan
    if signal.scale == "ratio":
        smallest = 1e-3 * max(abs(value), abs(baseline), 1e-9)
        units = math.log(max(value, smallest) / max(baseline, smallest)) / math.log(signal.material)
    elif signal.scale == "share":
        units = (value - baseline) / signal.material
    else:
        units = (value - baseline) / (signal.material * max(wait_s, 1e-3))
    return units if direction == "up" else -units


def detect(series: Series, direction: Direction, bins: Bins, healthy: Healthy, until: int) -> Deviation | None:
    """The first lasting deviation of ``series`` before bin ``until``, judged from its onset to there. None if there is
    none."""
    until = min(until, bins.count)
    for width in map(bins.wide, SCALES_S):
        effects = _effects(series, direction, healthy, width)[: max(until, healthy.last) - width + 1]
        base = effects[healthy.first : max(healthy.first + 1, healthy.last - width + 1)]
        threshold = max(MATERIAL, _usual(base[~np.isnan(base)], width))
        for i in np.flatnonzero(effects[: max(until - width + 1, 0)] >= threshold).tolist():
            if i < healthy.since or not _lasts(effects[i : min(i + bins.wide(LASTING_S), until - width + 1)], threshold, width):
                continue
            quiet = _last_quiet(effects, i, threshold, healthy.since)
            low = Instant(bins.at(quiet + 1) - bins.width_ns // 2)
            onset = Onset(low, Instant(max(bins.at(i + width), low + bins.width_ns)))
            value, baseline = series.mean(i, until), series.mean(healthy.first, healthy.last)
            size = min(effect_of(series.signal, value, baseline, healthy.wait_s, direction), LARGEST)
            return Deviation(series.entity, series.signal, direction, onset, i, until, size, value, baseline)
    return None


def _lasts(effects: Floats, threshold: float, width: int) -> bool:
    """Whether at least half of what was measured deviates, and not in one bin alone."""
    measured = effects[~np.isnan(effects)]
    beyond = int((measured >= threshold).sum())
    return 2 * beyond >= len(measured) and (width > 1 or beyond > 1)


def _effects(series: Series, direction: Direction, healthy: Healthy, width: int) -> Floats:
    """Effect per window of ``width`` bins that begins at the bin [count]; NaN where the window holds nothing."""
    ones = np.ones(width)
    num = np.convolve(np.concatenate([series.num, np.zeros(width - 1)]), ones, "valid")
    den = np.convolve(np.concatenate([series.den, np.zeros(width - 1)]), ones, "valid")
    baseline = series.mean(healthy.first, healthy.last)
    values = [n / d if d > 0 else math.nan for n, d in zip(num, den, strict=True)]
    return np.array([effect_of(series.signal, v, baseline, healthy.wait_s, direction) for v in values])


def _usual(base: Floats, width: int) -> float:
    """Up to where healthy effects of windows of ``width`` bins go; infinite when there are too few to say."""
    if len(base) < 4:
        return math.inf
    middle = float(np.median(base))
    mad = 1.4826 * float(np.median(np.abs(base - middle)))
    tail = (float(np.quantile(base, 0.975)) - middle) / 1.96
    apart = base[::width] - float(base[::width].mean())
    total = float(apart @ apart)
    r = float(apart[1:] @ apart[:-1]) / total if total > 0 and len(apart) >= 8 else 0.0
    r = min(max(r, 0.0), 0.5)
    freedom = len(base) / width * (1 - r) / (1 + r) - 1
    return middle + _student(freedom) * max(mad, tail) if freedom >= 2 else math.inf


def _student(freedom: float) -> float:
    """The quantile of Student's t that ``SIGMAS`` is of the normal distribution (Abramowitz and Stegun 26.7.5)."""
    x = SIGMAS
    return (x + (x**3 + x) / (4 * freedom) + (5 * x**5 + 16 * x**3 + 3 * x) / (96 * freedom**2)
            + (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / (384 * freedom**3))


def _last_quiet(effects: Floats, found: int, threshold: float, first: int) -> int:
    """The last window before ``found`` well inside the healthy range; ``first - 1`` when there is none."""
    for i in range(found - 1, first - 1, -1):
        if math.isnan(effects[i]) or effects[i] < 0.3 * threshold:
            return i
    return first - 1


def quiet_time(stretches: Sequence[tuple[int, int]], worst: tuple[int, int], bins: Bins) -> Healthy | None:
    """The longest stretch of good service before the worst of the bad ones, or else after it; a minute's distance from
    bad service before it. None if none lasts a minute. Its ``wait_s`` is not known yet."""
    least = max(4, bins.wide(60.0))
    ends = [0, *(last + least for _, last in stretches)]
    begins = [*(first for first, _ in stretches), bins.count]
    gaps = [(first, last) for first, last in zip(ends, begins, strict=True) if last - first >= least]
    before = [gap for gap in gaps if gap[1] <= worst[0]]
    if before:
        first, last = max(before, key=lambda gap: (gap[1] - gap[0], -gap[0]))
        return Healthy(first, last, math.nan, first, before=True)
    since = max([0, *(last for _, last in stretches if last <= worst[0])])
    after = max(gaps, key=lambda gap: (gap[1] - gap[0], -gap[0]), default=None)
    return None if after is None else Healthy(*after, math.nan, since, before=False)


def choose_healthy(board: Board, bins: Bins, quiet: Healthy) -> Healthy:
    """Of quiet time what is surely healthy: before an impact, up to the first deviation of any signal in its second half."""
    if not quiet.before:
        return replace(quiet, wait_s=_wait(board, quiet.first, quiet.last))
    half = quiet.first + max(4, bins.wide(60.0), (quiet.last - quiet.first) // 2)
    draft = replace(quiet, last=half, wait_s=_wait(board, quiet.first, half))
    return replace(draft, last=max(half, _first_deviation(board, bins, draft, quiet.last)))


def _first_deviation(board: Board, bins: Bins, draft: Healthy, until: int) -> int:
    starts = [until]
    for of_entity in board.values():
        for series in of_entity.values():
            for direction in DIRECTIONS:
                found = detect(series, direction, bins, draft, until)
                if found is not None and found.first >= draft.last:
                    starts.append(bins.index(found.onset.low))
    return min(starts)


def _wait(board: Board, first: int, last: int) -> float:
    waits = [series.mean(first, last) for series in board.get("gateway.wait", {}).values()]
    known = [wait for wait in waits if not math.isnan(wait) and wait > 0]
    return float(np.median(known)) if known else 1.0
