"""Bodies taken as arrays become what the official classes make of them: rows, series, edges, rejects, counts and state."""

from __future__ import annotations

import json
from typing import Any

from drawn_metrics import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.decode_metrics import KnownSeries, SampleRows
from collectors.dialects import Dialects
from collectors.edges import EdgeRows, SpanMemory
from collectors.fast_metrics import MetricBodies
from collectors.limits import Drops, Limits
from collectors.rejects import Rejects
from collectors.resources import Emitters
from collectors.schema import SAMPLES, SERIES
from collectors.series_state import SeriesState

DIALECTS = Dialects()


class Side:
    """One of the two decoders with all that it changes, kept over several rounds."""

    def __init__(self, fast: bool, limits: Limits) -> None:
        self.fast, self.limits = fast, limits
        self.drops = Drops()
        self.known, self.state, self.emitters = KnownSeries(set(), DIALECTS), SeriesState(), Emitters(limits)

    def round(self, bodies: list[tuple[int, bytes]]) -> dict[str, Any]:
        """Everything that one round gives and leaves behind."""
        edges, rejects = EdgeRows(SpanMemory(), 0), Rejects(self.limits, self.drops)
        official = SampleRows(self.emitters, edges, rejects, self.known, self.state, self.limits, self.drops)
        rows: Any = MetricBodies(official, least_bytes=0) if self.fast else official
        for frame, body in bodies:
            rows.add(frame, body)
        samples, series = rows.samples(), rows.series()
        samples.validate(full=True)
        assert samples.schema == SAMPLES.arrow and series.schema == SERIES.arrow
        self.known.stored |= rows.new_series()
        return {"samples": lines(samples), "series": lines(series), "edges": lines(edges.table()),
                "rejects": lines(rejects.table()), "drops": dict(+self.drops), "state": json.dumps(self.state.save(), sort_keys=True)}


def lines(table: Any) -> list[str]:
    return [repr(row) for row in table.to_pylist()]


def assert_equal(rounds: list[list[bytes]], limits: Limits) -> None:
    official, fast = Side(False, limits), Side(True, limits)
    frame = 0
    for bodies in rounds:
        numbered = list(enumerate(bodies, start=frame + 1))
        frame += len(bodies)
        expected = official.round(numbered)
        got = fast.round(numbered)
        for name in expected:
            assert got[name] == expected[name], name


ROUNDS = st.lists(st.lists(requests(odd=False), max_size=3), max_size=3)
ODD_ROUNDS = st.lists(st.lists(requests(odd=True) | requests(odd=False), max_size=3), max_size=2)
LIMITS = st.sampled_from([Limits(), Limits(attributes=1, value_chars=30), Limits(series=2), Limits(keep_text=True)])


@given(ROUNDS, st.sampled_from([Limits(), Limits(series=3)]))
@settings(max_examples=100, deadline=None)
def test_ordinary_bodies(rounds: list[list[Any]], limits: Limits) -> None:
    assert_equal([[request.SerializeToString() for request in bodies] for bodies in rounds], limits)


@given(ODD_ROUNDS, LIMITS)
@settings(max_examples=100, deadline=None)
def test_bodies_with_whatever_cannot_be_a_row(rounds: list[list[Any]], limits: Limits) -> None:
    assert_equal([[request.SerializeToString() for request in bodies] for bodies in rounds], limits)
