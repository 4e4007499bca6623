"""When a signal left its healthy range, as an interval, and by how much.

The baseline is robust (median and MAD of healthy bins), its spread inflated for autocorrelation by
sqrt((1 + r) / (1 - r)): naive spreads over-segment (TCPD, our measurements in forensics-methods §3). A change counts only
if it also matters: at least one *material* unit of the signal (see ``signals``). Fast scales are tried first, then sums
over 30 s and 60 s for noisy signals; the onset interval is as wide as the scale that saw it. From the first deviating
window the search goes back to the last quiet one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analysis.investigation import Instant, Onset
from analysis.signals import Bins, Board, Direction, Floats, Series, Signal

SIGMAS = 3.5
"""Beyond so many (inflated) standard deviations of the baseline a window deviates."""
MATERIAL = 1.0
"""And by at least so many material units."""
LARGEST = 12.0
"""Effects are cut here: beyond, more says no more."""
SCALES_S = (0.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class Healthy:
    """The healthy bins ``first <= i < last``, and the mean wait of an attempt in them, the yardstick for seconds."""

    first: int
    last: int
    wait_s: float


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

    @property
    def strength(self) -> float:
        """0 to 1: 0.63 at one material unit, 0.95 at three."""
        return 1.0 - math.exp(-max(self.effect, 0.0))


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
    units = units if direction == "up" else -units
    return max(-LARGEST, min(LARGEST, units))


def detect(series: Series, direction: Direction, bins: Bins, healthy: Healthy, until: int) -> Deviation | None:
    """The first lasting deviation of ``series`` before bin ``until``, judged from its onset to there. None if there is
    none."""
    for scale_s in SCALES_S:
        width = max(1, round(scale_s * 1e9 / bins.width_ns))
        effects = _effects(series, direction, healthy, width)
        base = effects[healthy.first : max(healthy.first + 1, healthy.last - width + 1)]
        base = base[~np.isnan(base)]
        if len(base) < 4:
            continue
        threshold = max(MATERIAL, float(np.median(base)) + SIGMAS * _spread(base, width))
        found = _first_lasting(effects, threshold, healthy.first, until, width)
        if found is None:
            continue
        quiet = _last_quiet(effects, found, threshold, healthy.first)
        low = Instant(bins.at(quiet + 1) - bins.width_ns // 2)
        onset = Onset(low, Instant(max(bins.at(found + width), low + bins.width_ns)))
        return _judged(series, direction, healthy, onset, found, min(max(until, found + 1), bins.count))
    return None


def _judged(
    series: Series, direction: Direction, healthy: Healthy, onset: Onset, first: int, last: int
) -> Deviation | None:
    value, baseline = series.mean(first, last), series.mean(healthy.first, healthy.last)
    effect = effect_of(series.signal, value, baseline, healthy.wait_s, direction)
    if math.isnan(effect) or effect <= 0:
        return None
    return Deviation(series.entity, series.signal, direction, onset, first, last, effect, value, baseline)


def _effects(series: Series, direction: Direction, healthy: Healthy, width: int) -> Floats:
    """Effect per window of ``width`` bins that begins at the bin [count]; NaN where the window holds nothing."""
    ones = np.ones(width)
    num = np.convolve(np.concatenate([series.num, np.zeros(width - 1)]), ones, "valid")
    den = np.convolve(np.concatenate([series.den, np.zeros(width - 1)]), ones, "valid")
    baseline = series.mean(healthy.first, healthy.last)
    values = [n / d if d > 0 else math.nan for n, d in zip(num, den, strict=True)]
    return np.array([effect_of(series.signal, v, baseline, healthy.wait_s, direction) for v in values])


def _spread(base: Floats, width: int) -> float:
    """Robust standard deviation of healthy effects, inflated for autocorrelation between windows that do not overlap."""
    middle = float(np.median(base))
    mad = 1.4826 * float(np.median(np.abs(base - middle)))
    tail = (float(np.quantile(base, 0.975)) - middle) / 1.96
    apart = base[::width] - float(base[::width].mean())
    total = float(apart @ apart)
    r = float(apart[1:] @ apart[:-1]) / total if total > 0 and len(apart) >= 8 else 0.0
    r = min(max(r, 0.0), 0.5)
    return max(mad, tail) * math.sqrt((1 + r) / (1 - r))


def _first_lasting(effects: Floats, threshold: float, first: int, until: int, width: int) -> int | None:
    """First window beyond the threshold whose next two hold another such window (a wide window lasts by itself)."""
    beyond = effects >= threshold
    for i in range(first, min(until, len(effects))):
        if beyond[i] and (width > 1 or bool(beyond[i + 1 : i + 3].any())):
            return i
    return None


def _last_quiet(effects: Floats, found: int, threshold: float, first: int) -> int:
    """The last window before ``found`` well inside the healthy range; ``first - 1`` when there is none."""
    for i in range(found - 1, first - 1, -1):
        if math.isnan(effects[i]) or effects[i] < 0.3 * threshold:
            return i
    return first - 1


def choose_healthy(board: Board, bins: Bins, impact_first: int, over_first: int | None) -> Healthy | None:
    """Bins to compare with: before the impact, up to the first deviation of any cause-like signal. When the telemetry
    begins less than a minute before the impact: after the incident, from a minute past its end. None if neither."""
    least = max(4, round(60e9 / bins.width_ns))
    if impact_first >= least:
        draft = Healthy(0, max(least, impact_first // 2), _wait(board, 0, max(least, impact_first // 2)))
        return Healthy(0, max(draft.last, _first_deviation(board, bins, draft, impact_first)), draft.wait_s)
    if over_first is not None and bins.count - (over_first + least) >= least:
        first = over_first + least
        return Healthy(first, bins.count, _wait(board, first, bins.count))
    return None


def _first_deviation(board: Board, bins: Bins, draft: Healthy, until: int) -> int:
    starts = [until]
    for of_entity in board.values():
        for series in of_entity.values():
            for direction in ("up", "down"):
                found = detect(series, direction, bins, draft, until)  # type: ignore[arg-type]
                if found is not None and found.first >= draft.last:
                    starts.append(bins.index(found.onset.low))
    return min(starts)


def _wait(board: Board, first: int, last: int) -> float:
    waits = [series.mean(first, last) for series in board.get("gateway.wait", {}).values()]
    known = [wait for wait in waits if not math.isnan(wait) and wait > 0]
    return float(np.median(known)) if known else 1.0
