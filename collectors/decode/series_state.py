"""Cumulative OTLP streams -> what happened since the previous sample, per series.

OTLP metrics data model, "Temporality" and "Resets and Gaps": a cumulative point covers (start, time]; a start later
than the one before, or a count that falls, is a reset, and the point then counts from zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from collectors.decode.exponential import Buckets, Exponential, since

FIRST_REACH_NS = 60_000_000_000
"""A series' first point counts from zero if its stream began at most this long before it (a process just born);
otherwise what it holds happened at times unknown, and the delta is NULL."""

_DELTA_SUM, _EXPONENTIAL, _HISTOGRAM = 1, 3, 5
"""Lengths of the entries: [sum], [start, time, histogram], [start, time, count, sum, buckets]."""

Delta = tuple[int, "float | None", list[int]]


class SeriesState:
    """State of every histogram, summary and delta sum; ``saved`` restores what ``save`` gave, or ``changed`` one after another.

    A series whose kind changes starts anew: the kinds' entries differ in length.
    """

    def __init__(self, saved: dict[str, list[Any]] | None = None) -> None:
        self._state: dict[int, list[Any]] = {int(key): value for key, value in (saved or {}).items()}
        self._changed: set[int] = set()

    def save(self) -> dict[str, list[Any]]:
        """The state as JSON-able data."""
        return {str(key): _plain(value) for key, value in self._state.items()}

    def changed(self) -> dict[str, list[Any]]:
        """The part of the state that is not as it was when this was last asked, as JSON-able data."""
        changed, self._changed = self._changed, set()
        return {str(key): _plain(self._state[key]) for key in sorted(changed)}

    def histogram(self, series_id: int, start_ns: int, ts_ns: int, count: int, total: float | None,
                  buckets: Sequence[int]) -> Delta | None:
        """Count, sum and buckets since the previous sample of a cumulative histogram.

        None for a first point of unknown age, and for a point older than the one before it (the state stays).
        """
        last = self._last(series_id, _HISTOGRAM)
        if last is not None and ts_ns < last[1]:
            return None
        now = list(buckets)
        self._put(series_id, [start_ns, ts_ns, count, total, now])
        if last is None:
            return (count, total, now) if start_ns and ts_ns - start_ns <= FIRST_REACH_NS else None
        _, _, last_count, last_total, last_buckets = last
        if isinstance(last_buckets, np.ndarray):
            last_buckets = last_buckets.tolist()
        reset = (start_ns > last[0] > 0 or count < last_count or len(now) != len(last_buckets)
                 or any(a < b for a, b in zip(now, last_buckets, strict=True)))
        if reset:
            return count, total, now
        difference = None if total is None or last_total is None else total - last_total
        return count - last_count, difference, [a - b for a, b in zip(now, last_buckets, strict=True)]

    def last_histogram(self, series_id: int) -> list[Any] | None:
        """The last point of a histogram: start and time in ns, count, sum or None, buckets as a list or an array."""
        return self._last(series_id, _HISTOGRAM)

    def put_histogram(self, series_id: int, last: list[Any]) -> None:
        """Make ``last`` what ``last_histogram`` gives."""
        self._put(series_id, last)

    def exponential(self, series_id: int, start_ns: int, ts_ns: int, now: Exponential) -> Exponential | None:
        """What a cumulative exponential histogram observed since the previous sample, at the coarser of both scales.

        The whole of it after a reset, at its own scale; None as for ``histogram``.
        """
        last = self._last(series_id, _EXPONENTIAL)
        if last is not None and ts_ns < last[1]:
            return None
        self._put(series_id, [start_ns, ts_ns, now])
        if last is None:
            return now if start_ns and ts_ns - start_ns <= FIRST_REACH_NS else None
        if start_ns > last[0] > 0:
            return now
        observed, total, scale, zero_count, zero_threshold, positive, negative = last[2]
        before = Exponential(observed, total, scale, zero_count, zero_threshold, Buckets(*positive), Buckets(*negative))
        return since(now, before) or now

    def accumulate(self, series_id: int, delta: float) -> float:
        """The cumulative value of a sum that is sent as deltas, counted from the first sample the store saw.

        A delta that is NaN or infinite is in its own sample's value and in no later one.
        """
        (before,) = self._last(series_id, _DELTA_SUM) or [0.0]
        total = float(before + delta)
        self._put(series_id, [total if math.isfinite(total) else before])
        return total

    def _put(self, series_id: int, entry: list[Any]) -> None:
        self._state[series_id] = entry
        self._changed.add(series_id)

    def _last(self, series_id: int, length: int) -> list[Any] | None:
        state = self._state.get(series_id)
        return state if state is not None and len(state) == length else None


def _plain(entry: list[Any]) -> list[Any]:
    if len(entry) == _HISTOGRAM and isinstance(entry[4], np.ndarray):
        return [*entry[:4], entry[4].tolist()]
    return entry
