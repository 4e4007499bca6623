"""Bodies of a busy fleet, thousands a second and no two alike: made once by the official classes, then patched by numpy.

Ids and times have a fixed width on the wire, so a new body is a copy of a made one with new bytes at known places. Spans are
those of the storage measurements: a request is a root and four children with 12 to 15 attributes, 510 spans a body.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import zstandard
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from collectors.schema import PHASES
from collectors.sink import Signal

REQUESTS, CHILDREN = 102, ("queue", "kv_sync", "prefill", "decode")
SPANS = REQUESTS * (1 + len(CHILDREN))
METRICS, SERIES_OF_METRIC = 50, 100
SAMPLES = METRICS * SERIES_OF_METRIC
_VARIANTS, _REPLICAS = 8, 10
_Places = np.ndarray


def attributes(values: dict[str, str | int | float]) -> list[KeyValue]:
    """OTLP attributes of plain values."""
    kinds = {str: "string_value", int: "int_value", float: "double_value"}
    return [KeyValue(key=key, value=AnyValue(**{kinds[type(value)]: value})) for key, value in values.items()]


@dataclass
class _Made:
    """A body and the places of its ids and times, a row of bytes each. ``offsets_ns``: of the times since the body's own."""

    body: np.ndarray
    traces: _Places
    requests: _Places
    spans: _Places
    parents: _Places
    times: _Places
    offsets_ns: np.ndarray


class SpanBodies:
    """Bodies of ``SPANS`` spans each, of ``REQUESTS`` attempts that a gateway and a replica saw."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._numbers = np.random.default_rng(seed)
        self._made = [self._make() for _ in range(_VARIANTS)]

    def next(self, now_ns: int) -> bytes:
        """A new body; its attempts end within the second after ``now_ns``."""
        made = self._made[self._random.randrange(_VARIANTS)]
        body = made.body.copy()
        ids = self._numbers.integers(1, 256, (REQUESTS, 16), np.uint8)
        body[made.traces] = np.repeat(ids, 1 + len(CHILDREN), axis=0)
        hexed = np.frombuffer(ids[:, :8].tobytes().hex().encode(), np.uint8).reshape(REQUESTS, 16)
        body[made.requests] = np.repeat(hexed, 1 + len(CHILDREN), axis=0)
        spans = self._numbers.integers(1, 256, (SPANS, 8), np.uint8)
        body[made.spans] = spans
        body[made.parents] = np.repeat(spans[:: 1 + len(CHILDREN)], len(CHILDREN), axis=0)
        times = (made.offsets_ns + np.uint64(now_ns)).astype("<u8")
        body[made.times] = times.view(np.uint8).reshape(-1, 8)
        return body.tobytes()

    def _make(self) -> _Made:
        request, marks = ExportTraceServiceRequest(), Marks(self._random)
        gateway = request.resource_spans.add()
        gateway.resource.attributes.extend(attributes({"service.name": "gateway", "flashover.entity": "gateway:main"}))
        spans, offsets = gateway.scope_spans.add().spans, []
        for _ in range(REQUESTS):
            trace, root, number = marks.new(16), marks.new(8), marks.text(16)
            start, parts = self._random.randrange(10**9), [self._random.randrange(10**8) for _ in PHASES]
            begun = start
            for at, name in enumerate(("gateway.request", *CHILDREN)):
                took = sum(parts) if at == 0 else parts[at]
                values = self._root(number, parts) if at == 0 else self._child(number, took)
                spans.add(trace_id=trace, span_id=root if at == 0 else marks.new(8), parent_span_id=b"" if at == 0 else root,
                          name=name if at == 0 else f"llm.{name}", kind=2 if at == 0 else 1,
                          start_time_unix_nano=marks.time(), end_time_unix_nano=marks.time(),
                          attributes=attributes(values))
                offsets += [begun, begun + took]
                begun += took if at else 0
        body = request.SerializeToString()
        every = [span for block in request.resource_spans[0].scope_spans for span in block.spans]
        find = Finder(body)
        traces, requests, ids, parents, times = [], [], [], [], []
        for span in every:
            traces.append(find.next(span.trace_id))
            ids.append(find.next(span.span_id))
            if span.parent_span_id:
                parents.append(find.next(span.parent_span_id))
            times += [find.next(moment.to_bytes(8, "little")) for moment in (span.start_time_unix_nano,
                                                                            span.end_time_unix_nano)]
            requests.append(find.next(span.attributes[0].value.string_value.encode()))
        wide = np.arange(16)
        return _Made(np.frombuffer(body, np.uint8), *(np.array(places)[:, None] + wide[:width] for places, width in (
            (traces, 16), (requests, 16), (ids, 8), (parents, 8), (times, 8))), np.array(offsets, np.uint64))

    def _root(self, number: str, parts: list[int]) -> dict[str, str | int | float]:
        return {"gen_ai.request.id": number, "flashover.attempt": 1, "flashover.outcome": "ok", "flashover.cohort": "chat",
                **{f"flashover.{phase}": ns for phase, ns in zip(PHASES, parts, strict=True)},
                "flashover.e2e_ns": sum(parts), "gen_ai.request.model": "m-70b"}

    def _child(self, number: str, took: int) -> dict[str, str | int | float]:
        rnd = self._random
        return {"gen_ai.request.id": number, "flashover.attempt": 1, "flashover.replica": f"replica:r{rnd.randrange(8)}",
                "gen_ai.usage.input_tokens": rnd.randrange(8000), "gen_ai.usage.output_tokens": rnd.randrange(900),
                "gen_ai.request.model": "m-70b", "gen_ai.request.temperature": rnd.choice([0.0, 0.7, 1.0]),
                "scheduler.batch": rnd.randrange(256), "scheduler.priority": rnd.randrange(4), "kv.blocks": rnd.randrange(600),
                "net.peer.name": f"node-{rnd.randrange(16)}", "took_us": took // 1000}


class SampleBodies:
    """Bodies of ``SAMPLES`` numbers each: a scrape of one of ten replicas in turn, half gauges, half cumulative sums."""

    def __init__(self, seed: int) -> None:
        self._numbers = np.random.default_rng(seed)
        self._values = np.zeros((_REPLICAS, SAMPLES))
        self._turn = 0
        self._made = [self._make(replica) for replica in range(_REPLICAS)]

    def next(self, now_ns: int) -> bytes:
        """A new body: every series of the next replica, at ``now_ns``."""
        replica = self._turn % _REPLICAS
        self._turn += 1
        made, values, times = self._made[replica]
        half = SAMPLES // 2
        now = self._values[replica]
        now[:half] = self._numbers.integers(0, 1000, half)
        now[half:] += self._numbers.integers(0, 4, half)
        body = made.copy()
        body[values] = now.astype("<f8").view(np.uint8).reshape(-1, 8)
        body[times] = np.frombuffer(now_ns.to_bytes(8, "little"), np.uint8)
        return body.tobytes()

    def _make(self, replica: int) -> tuple[np.ndarray, _Places, _Places]:
        request, marks = ExportMetricsServiceRequest(), Marks(random.Random(replica))
        block = request.resource_metrics.add()
        block.resource.attributes.extend(attributes({"service.name": "engine", "flashover.entity": f"replica:r{replica}"}))
        metrics = block.scope_metrics.add().metrics
        for number in range(METRICS):
            metric = metrics.add(name=f"load:metric_{number:02d}", unit="1")
            points = metric.gauge.data_points
            if number >= METRICS // 2:
                metric.sum.aggregation_temporality, metric.sum.is_monotonic = 2, True
                points = metric.sum.data_points
            for series in range(SERIES_OF_METRIC):
                points.add(time_unix_nano=marks.time(), as_double=marks.double(),
                           attributes=attributes({"model_name": "m-70b", "engine": str(replica), "bucket": f"b{series:03d}"}))
        body = request.SerializeToString()
        find = Finder(body)
        values, times = [], []
        for metric in metrics:
            for point in metric.gauge.data_points or metric.sum.data_points:
                times.append(find.next(point.time_unix_nano.to_bytes(8, "little")))
                values.append(find.next(np.float64(point.as_double).tobytes()))
        wide = np.arange(8)
        return np.frombuffer(body, np.uint8), np.array(values)[:, None] + wide, np.array(times)[:, None] + wide


class Marks:
    """Values that come once in a body, so that their places are found again."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def new(self, width: int) -> bytes:
        """An id."""
        return bytes(self._source.randrange(1, 256) for _ in range(width))

    def text(self, width: int) -> str:
        """An id of hex digits."""
        return self.new(width // 2).hex()

    def time(self) -> int:
        """A time."""
        return (1 << 62) + self._source.randrange(1 << 60)

    def double(self) -> float:
        """A number with a full mantissa."""
        return self._source.random() + 1.0


class Finder:
    """Finds values one after another, as protobuf writes fields in the order of their numbers."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def next(self, value: bytes) -> int:
        """Where ``value`` comes next; ValueError when it does not."""
        found = self._body.index(value, self._at)
        self._at = found + len(value)
        return found


@dataclass
class Sender(threading.Thread):
    """Posts bodies of ``make`` to a collector on this machine, ``rate`` a second (0: as fast as it takes them), until
    ``stop`` or ``count``. What it is told to send again it sends again; any other answer ends it with ``failure``."""

    port: int
    signal: Signal
    make: Callable[[int], bytes]
    rate: float = 0.0
    count: int = 1 << 62
    sent: int = 0
    again: int = 0
    behind_s: float = 0.0
    failure: str = ""
    ending: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def stop(self) -> None:
        """Send no more; returns when the last body is answered."""
        self.ending.set()
        self.join()

    def run(self) -> None:
        """Send."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        begun, pack = time.monotonic(), zstandard.ZstdCompressor(level=1).compress
        while not self.ending.is_set() and self.sent < self.count and not self.failure:
            if self.rate:
                early = begun + self.sent / self.rate - time.monotonic()
                self.behind_s = max(self.behind_s, -early)
                if early > 0 and self.ending.wait(early):
                    break
            self._post(connection, pack(self.make(time.time_ns())))
        connection.close()

    def _post(self, connection: http.client.HTTPConnection, body: bytes) -> None:
        headers = {"content-type": "application/x-protobuf", "content-encoding": "zstd"}
        while True:
            connection.request("POST", f"/v1/{self.signal}", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 200:
                self.sent += 1
                return
            if answer.status not in (429, 503):
                self.failure = f"{answer.status} {text!r}"
                return
            self.again += 1
            time.sleep(float(answer.headers.get("retry-after", "1")))
