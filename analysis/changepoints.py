"""Where the level of a series changed, for good: optimal segments under a penalty that knows autocorrelation.

PELT (Killick et al., 2012; by ``ruptures``) with squared error and the penalty 3 log n times the long-run variance: that of
an AR(1) process with the autocorrelation that is left around the segments' means, found by repeating until segments stay. A
penalty by the plain variance takes every slow wave for changes (TCPD: our measurements in forensics-methods §3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import ruptures

from analysis.board import Floats

PENALTY = 3.0
MOST_MEMORY = 0.8
"""Autocorrelation is believed up to here: beyond, a series is a walk and has no level."""
_ROUNDS = 6
_LEAST_SHARE = 50
"""A segment is at least a fiftieth of the series."""


def change_points(values: Sequence[float] | Floats) -> list[int]:
    """The places at which new segments begin, in order. Gaps (NaN) are filled along straight lines; nothing is found in
    fewer than eight values, nor in a constant."""
    x = _filled(np.asarray(values, dtype=float))
    if len(x) < 8 or float(x.std()) == 0.0:
        return []
    x = (x - float(np.median(x))) / float(x.std())
    least = max(2, len(x) // _LEAST_SHARE)
    search = ruptures.Pelt(model="l2", min_size=least, jump=1).fit(x[:, None])
    found: list[int] = []
    seen: set[tuple[int, ...]] = set()
    for _ in range(_ROUNDS):
        if tuple(found) in seen:
            break
        seen.add(tuple(found))
        found = [int(place) for place in search.predict(pen=PENALTY * math.log(len(x)) * _long_run_variance(x, found))[:-1]]
    return found


def _filled(x: Floats) -> Floats:
    known = np.flatnonzero(np.isfinite(x))
    if len(known) == 0:
        return np.zeros(0)
    return np.interp(np.arange(len(x)), known, x[known])


def _long_run_variance(x: Floats, places: Sequence[int]) -> float:
    left = np.concatenate([x[first:last] - x[first:last].mean() for first, last in pairwise([0, *places, len(x)])])
    total = float(left @ left)
    r = float(left[1:] @ left[:-1]) / total if total > 0 else 0.0
    r = min(max(r, 0.0), MOST_MEMORY)
    return max(total / len(x), 1e-9) * (1 + r) / (1 - r)
