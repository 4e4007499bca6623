"""Many points of cumulative histograms -> what happened since the previous sample of each: ``SeriesState.histogram``, by
arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collectors.decode.equal_values import ranges
from collectors.decode.series_state import FIRST_REACH_NS, SeriesState
from collectors.decode.wire_arrow import Ints, Mask


@dataclass(frozen=True, slots=True)
class Points:
    """Histogram points in the order in which they came. Times are ns, ``starts`` 0 where none was sent; ``totals``: sums,
    with ``has_total``; point i has the buckets ``flat[offsets[i] : offsets[i + 1]]``."""

    series: Ints
    starts: Ints
    times: Ints
    counts: Ints
    totals: npt.NDArray[np.float64]
    has_total: Mask
    offsets: Ints
    flat: Ints

    def taken(self, rows: Ints) -> Points:
        """Some of the points, in another order."""
        lengths = np.diff(self.offsets)[rows]
        return Points(self.series[rows], self.starts[rows], self.times[rows], self.counts[rows], self.totals[rows],
                      self.has_total[rows], np.concatenate([[0], np.cumsum(lengths)]),
                      self.flat[ranges(self.offsets[:-1][rows], lengths)])

    def replaced(self, rows: Ints, others: Points) -> Points:
        """These points, but ``others`` at the places ``rows``; the buckets of each place stay as many."""
        made = Points(**{name: getattr(self, name).copy() for name in _PLAIN}, offsets=self.offsets, flat=self.flat.copy())
        for name in _PLAIN:
            getattr(made, name)[rows] = getattr(others, name)
        made.flat[ranges(self.offsets[:-1][rows], np.diff(self.offsets)[rows])] = others.flat
        return made

    def after(self, before: Points) -> Points:
        """``before``, then these."""
        return Points(**{name: np.concatenate([getattr(before, name), getattr(self, name)]) for name in (*_PLAIN, "flat")},
                      offsets=np.concatenate([before.offsets, before.offsets[-1] + self.offsets[1:]]))


_PLAIN = ("series", "starts", "times", "counts", "totals", "has_total")


def since_previous(points: Points, state: SeriesState) -> tuple[Mask, Points]:
    """Which points have a delta, and the points with counts, sums and buckets as deltas, in the same order.

    The state moves on, as if each point had been given to ``SeriesState.histogram`` in turn.
    """
    if not len(points.series):
        return points.has_total, points
    before = _remembered(np.unique(points.series), state)
    held = len(before.series)
    everything = points.after(before)
    order = np.argsort(everything.series, kind="stable")
    order = order[_in_time(everything.series[order], everything.times[order])]
    now = everything.taken(order)
    known, delta = _differences(now)
    last = np.append(now.series[1:] != now.series[:-1], True)
    _remember(now.taken(np.flatnonzero(last & (order >= held))), state)
    has = np.zeros(len(everything.series), np.bool_)
    has[order] = known
    place = np.full(len(everything.series), -1)
    place[order] = np.arange(len(order))
    rows = place[held:]
    if rows.min(initial=0) >= 0:
        return has[held:], delta.taken(rows)
    kept = np.flatnonzero(rows >= 0)
    return has[held:], points.replaced(kept, delta.taken(rows[kept]))


def _in_time(series: Ints, times: Ints) -> Mask:
    """Which points are not older than one before them in the same series; ``series`` comes in groups."""
    behind = (series[1:] == series[:-1]) & (times[1:] < times[:-1])
    keep = np.ones(len(series), np.bool_)
    for one in np.unique(series[1:][behind]):
        begin, end = np.searchsorted(series, one, "left"), np.searchsorted(series, one, "right")
        keep[begin:end] = times[begin:end] >= np.maximum.accumulate(times[begin:end])
    return keep


def _differences(now: Points) -> tuple[Mask, Points]:
    """Each point against the one before it in its group."""
    first = np.append(True, now.series[1:] != now.series[:-1])
    lengths = np.diff(now.offsets)
    before = np.maximum(np.arange(len(first)) - 1, 0)
    same = ~first & (lengths == lengths[before])
    reset = ~first & ~same
    reset |= same & (((now.starts > now.starts[before]) & (now.starts[before] > 0)) | (now.counts < now.counts[before]))
    each = np.repeat(same, lengths)
    change = now.flat - np.where(each, now.flat[np.maximum(np.arange(len(now.flat)) - np.repeat(lengths, lengths), 0)], 0)
    falls = np.concatenate([[0], np.cumsum(change < 0)])
    reset |= same & (falls[now.offsets[1:]] > falls[now.offsets[:-1]])
    whole = first | reset
    each = np.repeat(whole, lengths)
    known = ~first | ((now.starts > 0) & (now.times - now.starts <= FIRST_REACH_NS))
    has_total = now.has_total & (whole | now.has_total[before])
    with np.errstate(invalid="ignore", over="ignore"):
        totals = np.where(whole, now.totals, now.totals - now.totals[before])
    counts = np.where(whole, now.counts, now.counts - now.counts[before])
    return known, Points(now.series, now.starts, now.times, counts, totals, has_total, now.offsets,
                         np.where(each, now.flat, change))


def _remembered(series: Ints, state: SeriesState) -> Points:
    found = [(one, last) for one in series.tolist() if (last := state.last_histogram(one)) is not None]
    buckets = [last[4] for _, last in found]
    return Points(
        np.array([one for one, _ in found], np.int64), np.array([last[0] for _, last in found], np.int64),
        np.array([last[1] for _, last in found], np.int64), np.array([last[2] for _, last in found], np.int64),
        np.array([0.0 if last[3] is None else last[3] for _, last in found], np.float64),
        np.array([last[3] is not None for _, last in found], np.bool_),
        np.concatenate([[0], np.cumsum([len(one) for one in buckets], dtype=np.int64)]),
        np.concatenate([np.zeros(0, np.int64), *(np.asarray(one, np.int64) for one in buckets)]))


def _remember(points: Points, state: SeriesState) -> None:
    """Each series keeps a copy of its own: a view would keep the whole round's buckets for a series that never comes again."""
    flat, ends = points.flat, points.offsets.tolist()
    totals = [total if has else None for total, has in zip(points.totals.tolist(), points.has_total.tolist(), strict=True)]
    for at, (series, start, time, count) in enumerate(zip(
            points.series.tolist(), points.starts.tolist(), points.times.tolist(), points.counts.tolist(), strict=True)):
        state.put_histogram(series, [start, time, count, totals[at], flat[ends[at] : ends[at + 1]].copy()])
