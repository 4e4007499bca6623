"""The time of day, and of the week: what is usual at this hour is no deviation, and what is not, is one, however small.

Where quiet time holds at least two whole periods and a signal repeats itself, its series is told as if it were always the same
time: ratios are divided by what the time of day makes of them, shares and seconds have it taken away. That it repeats is tested
and not assumed: each period must be foretold by the others, far better than by the mean, or autocorrelated noise would pass for
a season. Telemetry of less than two days is left as it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.board import Bins, Board, Floats, Series

PERIODS_S = (7 * 86_400, 86_400)
"""A week is tried first: it holds the days."""
SMOOTH_S = 1800.0
"""What is usual at a time is read from half an hour around it."""
FORETELLS = 0.5
"""Share of the smoothed variance that other periods must explain."""
LEAST_FACTOR = 0.05
"""Times of day at which next to nothing is usual say little of what is too much."""


def without_seasons(board: Board, bins: Bins, first: int, last: int) -> Board:
    """The board, series that repeat themselves in the quiet bins ``first <= i < last`` as if it were always the same time."""
    if last - first < 2 * bins.wide(PERIODS_S[-1]):
        return board
    return {
        name: {entity: without_season(series, bins, first, last) for entity, series in of_entity.items()}
        for name, of_entity in board.items()
    }


def without_season(series: Series, bins: Bins, first: int, last: int) -> Series:
    """The same of one series; itself where it does not repeat."""
    for seconds in PERIODS_S:
        period, odd = divmod(round(seconds * 1e9), bins.width_ns)
        rounds = (last - first) // max(period, 1)
        if odd or rounds < 2:
            continue
        begin = last - rounds * period
        folded = (values[begin:last].reshape(rounds, period) for values in (series.num, series.den))
        num, den = (_smooth(values, bins.wide(SMOOTH_S)) for values in folded)
        with np.errstate(divide="ignore", invalid="ignore"):
            seen = np.where(den > 0, num / den, np.nan)
        if _foretold(seen) < FORETELLS:
            continue
        mean = float(series.mean(begin, last))
        usual = np.nan_to_num(_middle(seen), nan=mean)[(np.arange(bins.count) - begin) % period]
        told = series.num - (usual - mean) * series.den
        if series.signal.scale == "ratio" and mean > 0:
            told = series.num / np.maximum(usual / mean, LEAST_FACTOR)
        return replace(series, num=told, period_ns=period * bins.width_ns)
    return series


def _smooth(values: Floats, width: int) -> Floats:
    """Sums over ``width`` neighbours along the periods [rounds, period], ends joined."""
    half = min(width // 2, values.shape[1] // 2)
    padded = np.concatenate([values[:, values.shape[1] - half :], values, values[:, :half]], axis=1)
    total = np.concatenate([np.zeros((len(values), 1)), np.cumsum(padded, axis=1)], axis=1)
    return np.asarray(total[:, 2 * half + 1 :] - total[:, : -2 * half - 1])


def _middle(seen: Floats) -> Floats:
    """Median over the periods, NaN where none was seen."""
    known = ~np.isnan(seen).all(axis=0)
    middle = np.full(seen.shape[1], np.nan)
    middle[known] = np.nanmedian(seen[:, known], axis=0)
    return middle


def _foretold(seen: Floats) -> float:
    """Share of the variance of each period [rounds, period] that the others explain; below 0 where they mislead."""
    if not np.isfinite(seen).any():
        return 0.0
    spread = float(np.nansum((seen - np.nanmean(seen)) ** 2))
    if spread <= 0.0:
        return 0.0
    missed = sum(float(np.nansum((seen[i] - _middle(np.delete(seen, i, axis=0))) ** 2)) for i in range(len(seen)))
    return 1.0 - missed / spread
