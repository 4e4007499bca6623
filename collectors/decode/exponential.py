"""Exponential histograms: merged to coarser buckets, and what came in between two of them.

OTLP metrics data model, "ExponentialHistogram": bucket i of scale s holds (base^i, base^(i+1)], base = 2^(2^-s); two
neighbours of one scale are one bucket of the next coarser, of index i >> 1. Histograms of different scales or zero
thresholds are compared at the smaller scale and the greater threshold.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

_ROUNDING = 1e-6
"""A threshold this close below a bucket's end, in buckets, is that end: it came out of a rounded power."""


class Buckets(NamedTuple):
    """Counts of the buckets ``offset``, ``offset + 1``, ...; always ``trimmed``: neither end is zero."""

    offset: int
    counts: list[int]


class Exponential(NamedTuple):
    """An exponential histogram, or the difference of two. ``observed``: how many observations, ``total``: their sum or None."""

    observed: int
    total: float | None
    scale: int
    zero_count: int
    zero_threshold: float
    positive: Buckets
    negative: Buckets


def trimmed(offset: int, counts: Sequence[int]) -> Buckets:
    """Buckets without the empty ones at both ends; offset 0 when all are empty."""
    first, end = 0, len(counts)
    if end and counts[0] and counts[-1]:
        return Buckets(offset, list(counts))
    while end and not counts[end - 1]:
        end -= 1
    while first < end and not counts[first]:
        first += 1
    return Buckets(offset + first, list(counts[first:end])) if end else Buckets(0, [])


def since(now: Exponential, last: Exponential) -> Exponential | None:
    """What was observed between ``last`` and ``now``, both cumulative; None when some count has fallen."""
    scale, threshold = min(now.scale, last.scale), max(now.zero_threshold, last.zero_threshold)
    a, b = _at(now, scale, threshold), _at(last, scale, threshold)
    positive, negative = _minus(a.positive, b.positive), _minus(a.negative, b.negative)
    if positive is None or negative is None or a.observed < b.observed or a.zero_count < b.zero_count:
        return None
    total = None if a.total is None or b.total is None else a.total - b.total
    return Exponential(a.observed - b.observed, total, scale, a.zero_count - b.zero_count, threshold, positive, negative)


def _at(histogram: Exponential, scale: int, threshold: float) -> Exponential:
    """The histogram at a scale and threshold that are no finer than its own."""
    by = histogram.scale - scale
    positive, negative = _merged(histogram.positive, by), _merged(histogram.negative, by)
    zero = histogram.zero_count
    if threshold > histogram.zero_threshold:
        last = _last_within(threshold, scale)
        moved_up, positive = _without(positive, last)
        moved_down, negative = _without(negative, last)
        zero += moved_up + moved_down
    return Exponential(histogram.observed, histogram.total, scale, zero, threshold, positive, negative)


def _merged(buckets: Buckets, by: int) -> Buckets:
    if not by or not buckets.counts:
        return buckets
    offset = buckets.offset >> by
    counts = [0] * ((buckets.offset + len(buckets.counts) - 1 >> by) - offset + 1)
    for at, count in enumerate(buckets.counts, start=buckets.offset):
        counts[(at >> by) - offset] += count
    return Buckets(offset, counts)


def _last_within(threshold: float, scale: int) -> float:
    """Index of the last bucket that ends at or below the threshold."""
    if math.isinf(threshold):
        return threshold
    return math.floor(math.ldexp(math.log2(threshold), max(-1000, min(scale, 1000))) + _ROUNDING) - 1


def _without(buckets: Buckets, last: float) -> tuple[int, Buckets]:
    """The observations of the buckets up to index ``last``, and the other buckets."""
    cut = int(min(max(last + 1 - buckets.offset, 0), len(buckets.counts)))
    return sum(buckets.counts[:cut]), trimmed(buckets.offset + cut, buckets.counts[cut:])


def _minus(now: Buckets, last: Buckets) -> Buckets | None:
    """The difference per bucket; None where ``last`` has more. Both are trimmed, so that ``last`` has more where it reaches
    beyond ``now``; there is no list that spans the gap between distant buckets."""
    if not last.counts:
        return now
    begin = last.offset - now.offset
    end = begin + len(last.counts)
    if begin < 0 or end > len(now.counts):
        return None
    change = list(map(operator.sub, now.counts[begin:end], last.counts))
    return trimmed(now.offset, [*now.counts[:begin], *change, *now.counts[end:]]) if min(change) >= 0 else None
