"""How far a signal strays by itself: the scale on which a deviation is no chance.

A window's sum of ``num`` is expected to be the healthy value times its sum of ``den``. What is left over is scaled by the
root of ``den``, since sums of more things stray more, and its variance is that of an autocorrelated series: neighbouring bins
are fewer than they seem (naive spreads over-segment: TCPD, our measurements in forensics-methods §3). The variance of AR(1)
sums is in closed form; few bins know their own variance badly, so deviations are Student's, turned into normal ones (Wallace,
1959). No signal is trusted to be steadier than a tenth of what matters of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analysis.board import Floats, Series
from analysis.signal_catalogue import Direction, Signal

LEAST_BINS = 4
"""Healthy bins that a baseline needs."""
STEADIEST = 0.1
"""Material units that any signal strays by."""
_OUTLYING = 4.0
_GIVEN = 4.0
"""Where the floor is the larger one, the scale is given and not guessed from the bins, which then count so many times."""
_FEW = 15
"""Bins from which half of a measured autocorrelation is believed."""


def effects(signal: Signal, values: Floats, baseline: float, wait_s: float, direction: Direction) -> Floats:
    """How far ``values`` [n] are from ``baseline`` in ``direction``, in material units; NaN where either is unknown."""
    if signal.scale == "ratio":
        smallest = np.maximum(1e-3 * np.maximum(np.abs(values), abs(baseline)), 1e-12)
        units = np.log(np.maximum(values, smallest) / np.maximum(baseline, smallest)) / math.log(signal.material)
    else:
        units = (values - baseline) / (signal.material * (max(wait_s, 1e-3) if signal.scale == "seconds" else 1.0))
    return units if direction == "up" else -units


def effect_of(signal: Signal, value: float, baseline: float, wait_s: float, direction: Direction) -> float:
    """The same for one value."""
    return float(effects(signal, np.array([value]), baseline, wait_s, direction)[0])


@dataclass(frozen=True, slots=True)
class Noise:
    """``baseline``: the healthy value. ``spread``: standard deviation of a bin's leftover over the root of its ``den``.
    ``memory``: autocorrelation of neighbouring bins. ``bins``, ``den``: how much healthy time there was. ``floor``: least
    standard deviation of a value."""

    baseline: float
    spread: float
    memory: float
    bins: int
    den: float
    floor: float

    def deviations(self, num: Floats, den: Floats, width: int) -> Floats:
        """Normal deviations of windows' sums [n], each ``width`` bins wide; NaN where a window holds nothing."""
        left = num - self.baseline * den
        own = self.spread**2 * den * _inflation(self.memory, width)
        of_baseline = (den * self.spread) ** 2 * _inflation(self.memory, self.bins) / max(self.den, 1e-12)
        measured, least = own + of_baseline, (self.floor * den) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(den > 0, left / np.sqrt(np.maximum(measured, least)), np.nan)
            known = np.where(least > measured, np.minimum(least / measured, _GIVEN), 1.0)
        freedom = max(self.bins * (1 - self.memory) / (1 + self.memory) - 1, 1.0)
        return _normal(t, freedom * known)


def learn(series: Series, first: int, last: int, wait_s: float) -> Noise | None:
    """The noise of a series in the healthy bins ``first <= i < last``; None when they say too little."""
    num, den = series.num[first:last], series.den[first:last]
    held = den > 0
    if int(held.sum()) < LEAST_BINS:
        return None
    num, den = num[held], den[held]
    total = float(den.sum())
    baseline = float(num.sum()) / total
    left = (num - baseline * den) / np.sqrt(den)
    middle = float(np.median(left))
    mad = 1.4826 * float(np.median(np.abs(left - middle)))
    # One odd bin in a steady series is an outlier; where most bins are equal, MAD is 0 and says nothing.
    kept = np.clip(left, middle - _OUTLYING * mad, middle + _OUTLYING * mad) if mad > 0 else left
    spread = max(mad, float(kept.std(ddof=1)))
    return Noise(baseline, spread, _memory(kept), len(left), total, _floor(series.signal, baseline, wait_s))


def steps(values: Floats, noise: Noise, first: int, last: int, width: int) -> Floats:
    """Normal deviations of the step from the window that ends where each of ``values`` [n] begins, to it, among such steps in
    the healthy bins ``first <= i < last``: a series that wanders or grows is judged by its own past moments before, since its
    spread about one healthy value says nothing. NaN where either window holds nothing."""
    step = np.full(len(values), np.nan)
    step[width:] = values[width:] - values[:-width]
    usual = step[first + width : max(last - width + 1, first + width)]
    usual = usual[np.isfinite(usual)]
    freedom = len(usual) / (2 * width) - 1
    if freedom < LEAST_BINS:
        return np.full(len(values), np.nan)
    middle = float(np.median(usual))
    spread = max(1.4826 * float(np.median(np.abs(usual - middle))), float(usual.std()), noise.floor)
    return _normal((step - middle) / spread, freedom)


def _normal(t: Floats, freedom: Floats | float) -> Floats:
    """Student's deviations as normal ones that are as improbable."""
    with np.errstate(invalid="ignore"):
        size = np.sqrt(freedom * np.log1p(t * t / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
        return np.sign(t) * size


def _floor(signal: Signal, baseline: float, wait_s: float) -> float:
    if signal.scale == "ratio":
        return STEADIEST * (signal.material - 1.0) * abs(baseline) + 1e-12
    return STEADIEST * signal.material * (max(wait_s, 1e-3) if signal.scale == "seconds" else 1.0)


def _memory(left: Floats) -> float:
    """Autocorrelation at lag one, shrunk: few bins know it badly."""
    apart = left - left.mean()
    total = float(apart @ apart)
    if total <= 0 or len(left) < 8:
        return 0.0
    r = float(apart[1:] @ apart[:-1]) / total
    return min(max(r, 0.0), 0.8) * len(left) / (len(left) + _FEW)


def _inflation(r: float, n: int) -> float:
    """Variance of the mean of ``n`` neighbours, over that of independent ones."""
    return (1 + r) / (1 - r) - 2 * r * (1 - r**n) / (n * (1 - r) ** 2)
