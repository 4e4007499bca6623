"""When a signal left its healthy range, as an interval, how surely, and by how much.

Windows of several widths are compared with healthy time (see ``noise``); a deviation must be no chance, must matter, and must
last. The widest windows find what is small and steady, the narrowest what is large and sudden. The begin is then the most
likely place of a step, and its interval all places that are nearly as likely: it widens with noise by itself, over gaps, and
by the distance of scrapes. Onsets whose intervals overlap are never ordered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from analysis.board import Bins, Board, Floats, Series
from analysis.investigation import Instant, Onset
from analysis.noise import Noise, effect_of, effects, learn, steps
from analysis.signal_catalogue import Direction, Signal

SURE, CERTAIN = 2.5, 5.0
"""Normal deviations from which a window may deviate, and from which healthy time is surely over."""
MATTERS = 0.6
"""And by at least so many material units."""
LASTING_S = 60.0
DRAFT_S = 90.0
"""Healthy time that is taken on trust, at least."""
SEARCHED_S = 6 * 3600.0
"""The most time before an impact in which healthy time may have ended: over days, something happens by chance."""
LARGEST = 12.0
"""Effects of deviations are cut here: beyond, more says no more."""
SCALES_S = (0.0, 15.0, 30.0, 60.0, 120.0, 240.0)
NEARLY = 2.0
"""Log likelihood below the best from which a place of the step is out."""
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
    judged by, ``sure`` in normal deviations; ``value`` and ``baseline`` in the signal's own unit."""

    entity: str
    signal: Signal
    direction: Direction
    onset: Onset
    first: int
    last: int
    effect: float
    value: float
    baseline: float
    sure: float

    @property
    def clearness(self) -> tuple[float, float, int]:
        """Larger for whoever shows a move more: surer, then more of it, then earlier. What entities are called has no part."""
        return self.sure, self.effect, -self.onset.low


def detect(
    series: Series, direction: Direction, bins: Bins, healthy: Healthy, until: int, least: float = SURE
) -> Deviation | None:
    """The surest lasting deviation of ``series`` before bin ``until`` that is ``least`` sure, over windows of all widths, each
    with its first. None if there is none, or too little healthy time."""
    noise = learn(series, healthy.first, healthy.last, healthy.wait_s)
    until = min(until, bins.count)
    if noise is None or until <= healthy.since:
        return None
    best: Deviation | None = None
    for width in dict.fromkeys(map(bins.wide, SCALES_S)):
        found = _first(series, direction, bins, healthy, noise, until, width, least)
        if found is None:
            continue
        if best is None or found.sure > best.sure + NEARLY:
            best = found
        elif found.sure > best.sure - NEARLY:
            best = replace(found if found.first < best.first else best, sure=max(found.sure, best.sure))
    return best


def _first(
    series: Series, direction: Direction, bins: Bins, healthy: Healthy, noise: Noise, until: int, width: int, least: float
) -> Deviation | None:
    num, den = (_windows(values[:until], width) for values in (series.num, series.den))
    if len(num) <= healthy.since:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.where(den > 0, num / den, np.nan)
    size = effects(series.signal, values, noise.baseline, healthy.wait_s, direction)
    sign = 1.0 if direction == "up" else -1.0
    sure = np.fmax(noise.deviations(num, den, width) * sign, steps(values, noise, healthy.first, healthy.last, width) * sign)
    beyond = (size >= MATTERS) & (sure >= least)
    # Where nothing ever happened any event is one; elsewhere one odd bin is none, however wide the window around it.
    silent = noise.baseline == 0.0 and noise.spread == 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(series.den > 0, series.num / series.den, np.nan)[:until]
    alone = effects(series.signal, each, noise.baseline, healthy.wait_s, direction) >= MATTERS / 2
    for i in (np.flatnonzero(beyond[healthy.since :]) + healthy.since).tolist():
        last = min(i + max(width, bins.wide(LASTING_S)), until)
        several = silent or int(alone[i : max(i + width, i + 2)].sum()) >= max(2, 0.3 * width)
        if several and _lasts(size[i : last - width + 1]):
            return _begun(series, direction, bins, healthy, noise, i, last, float(np.nanmax(sure[i : last - width + 1])))
    return None


def _windows(values: Floats, width: int) -> Floats:
    total = np.concatenate([[0.0], np.cumsum(values)])
    return total[width:] - total[:-width] if len(values) >= width else np.zeros(0)


def _lasts(size: Floats) -> bool:
    """Whether at least half of what was measured deviates."""
    measured = size[~np.isnan(size)]
    return 2 * int((measured >= MATTERS).sum()) >= len(measured)


def _begun(
    series: Series, direction: Direction, bins: Bins, healthy: Healthy, noise: Noise, found: int, last: int, sure: float
) -> Deviation:
    """The deviation seen from bin ``found`` to ``last``, from where it most likely began on."""
    low, high = _step(series, noise, healthy, found, last)
    first = min(high, last - 1)
    value = series.mean(first, last)
    size = min(effect_of(series.signal, value, noise.baseline, healthy.wait_s, direction), LARGEST)
    since = low
    while since > healthy.since and series.den[since - 1] == 0 and low - since < bins.count:
        since -= 1  # a gap hides when it began
    early = bins.at(since) - bins.width_ns  # a step late in a bin hardly shows in it
    onset = Onset(Instant(early), Instant(max(bins.at(high + 1), early + bins.width_ns)))
    return Deviation(series.entity, series.signal, direction, onset, first, last, size, value, noise.baseline, sure)


def _step(series: Series, noise: Noise, healthy: Healthy, found: int, last: int) -> tuple[int, int]:
    """The first and the last bin in which a step to the level of ``found .. last`` is nearly as likely as in the best."""
    begin = max(healthy.since, found - (last - found))
    num, den = series.num[begin:last], series.den[begin:last]
    shift = series.mean(found, last) - noise.baseline
    spread = max(noise.spread**2, noise.floor**2 * float(den.mean()), 1e-300)
    gain = shift * (num - noise.baseline * den) / spread - shift * shift * den / (2 * spread)
    likely = np.cumsum(gain[::-1])[::-1]
    places = np.flatnonzero(likely >= likely.max() - NEARLY)
    best = int(np.argmax(likely))
    low = high = best
    while low - 1 in places:
        low -= 1
    while high + 1 in places:
        high += 1
    return begin + low, begin + high


def quiet_time(stretches: Sequence[tuple[int, int]], worst: tuple[int, int], bins: Bins) -> Healthy | None:
    """The longest stretch of good service before the one to explain, or else after it; a minute's distance from bad service
    before it. None if none lasts a minute. Its ``wait_s`` is not known yet."""
    least = max(4, bins.wide(60.0))
    ends = [0, *(last + least for _, last in stretches)]
    begins = [*(first for first, _ in stretches), bins.count]
    gaps = [(first, last) for first, last in zip(ends, begins, strict=True) if last - first >= least]
    before = [gap for gap in gaps if gap[1] <= worst[0]]
    earlier = [last for _, last in stretches if last <= worst[0]]
    if before:
        first, last = max(before, key=lambda gap: (gap[1] - gap[0], -gap[0]))
        return Healthy(first, last, math.nan, max([first, *earlier]), before=True)
    after = max(gaps, key=lambda gap: (gap[1] - gap[0], -gap[0]), default=None)
    return None if after is None else Healthy(*after, math.nan, max([0, *earlier]), before=False)


def choose_healthy(board: Board, bins: Bins, quiet: Healthy) -> Healthy:
    """Of quiet time what is surely healthy: before an impact, up to the first sure deviation after its first third."""
    if not quiet.before:
        return replace(quiet, wait_s=_wait(board, quiet.first, quiet.last))
    trusted = max(4, bins.wide(DRAFT_S), (quiet.last - quiet.first) // 3, quiet.last - quiet.first - bins.wide(SEARCHED_S))
    surely = min(quiet.first + trusted, quiet.last)
    draft = replace(quiet, last=surely, since=quiet.first, wait_s=_wait(board, quiet.first, surely))
    last = max(surely, _first_deviation(board, bins, draft, quiet.last))
    return replace(draft, last=last, since=max(quiet.since, last if quiet.since == quiet.first else 0))


def _first_deviation(board: Board, bins: Bins, draft: Healthy, until: int) -> int:
    starts = [until]
    for of_entity in board.values():
        for series in of_entity.values():
            for direction in DIRECTIONS:
                found = detect(series, direction, bins, replace(draft, since=draft.last), until, CERTAIN)
                if found is not None and found.first >= draft.last:
                    starts.append(bins.index(found.onset.low))
    return min(starts)


def _wait(board: Board, first: int, last: int) -> float:
    waits = [series.mean(first, last) for series in board.get("gateway.wait", {}).values()]
    known = [wait for wait in waits if not math.isnan(wait) and wait > 0]
    return float(np.median(known)) if known else 1.0
