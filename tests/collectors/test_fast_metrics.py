"""Bodies taken as arrays become what the official classes make of them: rows, series, edges, rejects, counts and state."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from drawn_metrics import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from otlp_bodies import SECOND, START, attribute, resource
from wire_fuzz import edited

from collectors.decode.decode_metrics import KnownSeries, SampleRows
from collectors.decode.edges import EdgeRows, SpanMemory
from collectors.decode.fast_metrics import MetricBodies
from collectors.decode.known_series import OVERFLOW
from collectors.decode.limits import Drops, Limits
from collectors.decode.metric_batch import MetricBatch
from collectors.decode.rejects import Rejects
from collectors.decode.resources import Emitters
from collectors.decode.series_state import SeriesState
from collectors.dialects import Dialects
from collectors.schema import SAMPLES, SERIES

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
                "rejects": lines(rejects.table()), "drops": dict(+self.drops),
                "state": json.dumps(self.state.save(), sort_keys=True)}


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


EDITS = st.lists(st.tuples(st.sampled_from(["set", "drop", "insert", "cut"]), st.floats(0, 1, exclude_max=True),
                           st.integers(0, 255)), min_size=1, max_size=3)


@given(st.lists(st.tuples(requests(odd=False), EDITS), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_damaged_bytes(damaged: list[tuple[Any, list[tuple[str, float, int]]]]) -> None:
    """Most of it fits some wire format still: fields twice, of other types, unknown ones, members of a oneof together."""
    assert_equal([[edited(request.SerializeToString(), edits) for request, edits in damaged]], Limits())


def scrape(second: int, series: int = 40, entity: str = "replica:r0") -> ExportMetricsServiceRequest:
    """A gauge, a counter, a delta sum and a histogram of ``series`` series each, as the engine's clients send them."""
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add(resource=resource(entity, syncs_kv="kv_index:main")).scope_metrics.add()
    gauge, counter, delta, seen = (scope.metrics.add(name=name, unit="s") for name in ("gauge", "counter", "delta", "seen"))
    counter.sum.is_monotonic, counter.sum.aggregation_temporality, delta.sum.aggregation_temporality = True, 2, 1
    seen.histogram.aggregation_temporality = 2
    for at in range(series):
        base = {"time_unix_nano": START + second * SECOND, "start_time_unix_nano": START,
                "attributes": [attribute("engine", f"e{at}"), attribute("model", 7)]}
        gauge.gauge.data_points.add(**base, as_double=second + at / 8)
        counter.sum.data_points.add(**base, as_int=second * at)
        delta.sum.data_points.add(**base, as_double=1.5)
        seen.histogram.data_points.add(**base, count=3 * second, sum=1.5 * second, bucket_counts=[second, 0, 2 * second],
                                       explicit_bounds=[1.0, 2.0])
    return request


def test_scrapes_are_ordinary_and_their_blocks_are_recalled() -> None:
    """From the second round on no label is looked at, and a label that changes is seen nevertheless."""
    side, frame = Side(True, Limits()), count(1)
    for first in (1, 4, 7):
        bodies = [scrape(second).SerializeToString() for second in range(first, first + 3)]
        batch = MetricBatch(bodies, side.emitters, side.known, side.limits)
        assert not batch.unusual.any() and batch.recalled.all() == (first > 1) and bool(batch.candidates) == (first == 1)
        got = side.round([(next(frame), body) for body in bodies])
        assert len(got["samples"]) == 3 * 160 and bool(got["series"]) == (first == 1)
    changed = scrape(10)
    changed.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[39].attributes[0].value.string_value = "new"
    assert len(side.round([(next(frame), changed.SerializeToString())])["series"]) == 1
    other = scrape(11, entity="replica:r1").SerializeToString()
    assert len(side.round([(next(frame), other)])["series"]) == 160
    assert_equal([[scrape(second).SerializeToString() for second in range(first, first + 3)] for first in (1, 4, 7)]
                 + [[changed.SerializeToString(), other]], Limits())


def test_a_counter_and_a_histogram_of_one_name_do_not_disturb_each_other() -> None:
    request = scrape(1, 2)
    metrics = request.resource_metrics[0].scope_metrics[0].metrics
    metrics[3].name = "delta"
    for point in metrics[3].histogram.data_points:
        del point.explicit_bounds[:], point.bucket_counts[:]
    metrics.add().CopyFrom(metrics[2])
    assert_equal([[request.SerializeToString()] * 2, [request.SerializeToString()]], Limits())


def test_series_beyond_the_limit_are_counted_in_one_series_also_when_frames_are_decoded_again() -> None:
    """After a crash the table of series may be ahead of the snapshot: the same samples are stored and the same are counted."""
    rounds = [[(1, scrape(1, 2).SerializeToString())],
              [(2, scrape(2, 4).SerializeToString()), (3, scrape(3, 5).SerializeToString())]]
    for fast in (False, True):
        side = Side(fast, Limits(series=10))
        side.round(rounds[0])
        saved, drops, before = side.state.save(), Drops(side.drops), set(side.known.stored)
        saved = json.loads(json.dumps(saved))
        got = side.round(rounds[1])
        assert len(side.known.stored) == 10 + 1 and side.drops["series_overflow"] == (16 - 10) + (20 - 10)
        values = [line for line in got["samples"] if "'value': 6.0" in line or "'value': 16.0" in line]
        assert sum(OVERFLOW in line for line in got["series"]) == 1 and len(values) == 2
        again = Side(fast, Limits(series=10))
        again.state, again.drops, again.known.stored = SeriesState(saved), drops, set(side.known.stored)
        repeated = again.round(rounds[1])
        assert repeated["series"] == [] and before < side.known.stored
        assert {name: repeated[name] for name in ("samples", "drops", "state")} == {
            name: got[name] for name in ("samples", "drops", "state")}
