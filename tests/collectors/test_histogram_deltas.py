"""Histograms by arrays are histograms one by one: the same deltas, and the same state for what comes next."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.decode.histogram_deltas import Points, since_previous
from collectors.decode.series_state import FIRST_REACH_NS, SeriesState

TOTALS = st.sampled_from([None, 0.0, -0.0, 1.5, float("nan"), float("inf")])
POINT = st.tuples(st.integers(1, 3), st.sampled_from([0, 1, 50, 90]), st.integers(100, 110) | st.just(FIRST_REACH_NS * 2),
                  st.integers(0, 3), TOTALS, st.lists(st.integers(0, 2), max_size=3))
Row = tuple[int, int, int, int, float | None, list[int]]


def points_of(rows: list[Row]) -> Points:
    series, starts, times, counts = (np.array([row[at] for row in rows], np.int64) for at in range(4))
    return Points(series, starts, times, counts, np.array([0.0 if row[4] is None else row[4]
                                                        for row in rows], np.float64),
                  np.array([row[4] is not None for row in rows], np.bool_),
                  np.concatenate([[0], np.cumsum([len(row[5]) for row in rows], dtype=np.int64)]),
                  np.array([bucket for row in rows for bucket in row[5]], np.int64))


@given(st.lists(st.lists(POINT, max_size=8), max_size=4), st.integers(0, 3))
@settings(max_examples=150)
def test_arrays_and_single_points_agree(rounds: list[list[Row]], saved_at: int) -> None:
    one, many = SeriesState(), SeriesState()
    for at, rows in enumerate(rounds):
        if at == saved_at:
            many = SeriesState(json.loads(json.dumps(many.save())))
        expected: list[Any] = [one.histogram(*row) for row in rows]
        known, deltas = since_previous(points_of(rows), many)
        got = [(int(deltas.counts[row]), float(deltas.totals[row]) if deltas.has_total[row] else None,
                deltas.flat[deltas.offsets[row] : deltas.offsets[row + 1]].tolist()) if known[row] else None
               for row in range(len(rows))]
        assert repr(got) == repr(expected)
        assert json.dumps(one.save(), sort_keys=True) == json.dumps(many.save(), sort_keys=True)
