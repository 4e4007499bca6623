"""Counters, gauges and histograms of one resource: labels are bound once, a write is an addition.

All are cumulative since the run's start, as Prometheus and vLLM count. A counter or histogram is exported from the
moment it is bound (nothing counted yet is a true 0); a gauge only once it was set (unknown is absent, not 0).
Messages: opentelemetry-proto ``metrics/v1/metrics.proto``.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from typing import TypeVar

from instrumented_engine.telemetry import wire
from instrumented_engine.telemetry.buckets import BOUNDS

CUMULATIVE = 2
_DOUBLE = struct.Struct("<d").pack
_SFIXED64 = struct.Struct("<q").pack

_TIME = b"\x19"
_START = b"\x11"


def _number(value: float) -> bytes:
    """NumberDataPoint's value: as_int for an int, as_double for a float, as the SDK does."""
    return b"\x31" + _SFIXED64(value) if isinstance(value, int) else b"\x21" + _DOUBLE(value)


class Counter:
    """A monotonic sum. ``value`` is what was counted so far."""

    __slots__ = ("_labels", "value")
    type_name = "counter"

    def __init__(self, labels: bytes) -> None:
        self.value: float = 0
        self._labels = labels

    def add(self, n: float = 1) -> None:
        """Count ``n`` more; ValueError when n is negative or not a number."""
        if not n >= 0:
            raise ValueError(f"a counter only grows, it cannot take {n}")
        self.value += n

    def point(self, start: bytes, time: bytes) -> bytes:
        """The NumberDataPoint message; ``start`` and ``time`` are encoded fields."""
        return start + time + _number(self.value) + self._labels


class Gauge:
    """The last value that was set; None (unknown) is not exported."""

    __slots__ = ("_labels", "value")
    type_name = "gauge"

    def __init__(self, labels: bytes) -> None:
        self.value: float | None = None
        self._labels = labels

    def set(self, value: float | None) -> None:
        """Set the value; None makes the gauge unknown again."""
        self.value = value

    def point(self, start: bytes, time: bytes) -> bytes | None:
        """The NumberDataPoint message, None when the gauge was never set. A gauge has no start."""
        return None if self.value is None else time + _number(self.value) + self._labels


class Histogram:
    """Explicit buckets: bucket i counts bounds[i-1] < value <= bounds[i], the last one everything above."""

    __slots__ = ("_bounds", "_labels", "_pack", "bounds", "count", "counts", "sum")
    type_name = "histogram"

    def __init__(self, labels: bytes, bounds: Sequence[float]) -> None:
        if not bounds or any(low >= high for low, high in pairwise(bounds)):
            raise ValueError(f"bounds of a histogram must be there and rise: {bounds}")
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.count = 0
        self.sum = 0.0
        self._labels = labels
        self._bounds = wire.delimited(b"\x3a", struct.pack(f"<{len(bounds)}d", *bounds))
        self._pack = struct.Struct(f"<{len(bounds) + 1}Q").pack

    def observe(self, value: float, n: int = 1) -> None:
        """``n`` observations of ``value`` in one write; ValueError for a negative n or a value that is not finite."""
        if n < 0 or not isfinite(value):
            raise ValueError(f"a histogram cannot take {n} observations of {value}")
        self.counts[bisect_left(self.bounds, value)] += n
        self.count += n
        self.sum += value * n

    def point(self, start: bytes, time: bytes) -> bytes:
        """The HistogramDataPoint message."""
        counts = wire.delimited(b"\x32", self._pack(*self.counts))
        count = wire.fixed64(b"\x21", self.count)
        return start + time + count + b"\x29" + _DOUBLE(self.sum) + counts + self._bounds + self._labels


Instrument = Counter | Gauge | Histogram
Kind = TypeVar("Kind", Counter, Gauge, Histogram)


class _Metric:
    """All label sets of one name."""

    __slots__ = ("bounds", "head", "points", "type_name", "unit")

    def __init__(self, name: str, unit: str, description: str, type_name: str, bounds: tuple[float, ...]) -> None:
        self.unit, self.type_name, self.bounds = unit, type_name, bounds
        self.head = wire.text(b"\x0a", name) + wire.text(b"\x12", description) + wire.text(b"\x1a", unit)
        self.points: dict[bytes, Instrument] = {}

    def encode(self, start: bytes, time: bytes) -> bytes | None:
        points = [point.point(start, time) for point in self.points.values()]
        data = b"".join(wire.delimited(b"\x0a", point) for point in points if point is not None)
        if not data:
            return None
        return self.head + wire.delimited(_DATA_TAGS[self.type_name], data + _DATA_TAILS[self.type_name])


_DATA_TAGS = {"counter": b"\x3a", "gauge": b"\x2a", "histogram": b"\x4a"}
_TEMPORALITY = b"\x10" + bytes([CUMULATIVE])
_DATA_TAILS = {"counter": _TEMPORALITY + b"\x18\x01", "gauge": b"", "histogram": _TEMPORALITY}


class Registry:
    """The metrics of one resource, exported in the order in which they were bound."""

    def __init__(self, start_ns: int) -> None:
        self._start = wire.fixed64(_START, start_ns)
        self._metrics: dict[str, _Metric] = {}

    def counter(self, name: str, unit: str = "1", description: str = "", **labels: wire.Value) -> Counter:
        """Bind a counter; the same name and labels give the same handle."""
        return self._bind(Counter(wire.attributes(b"\x3a", labels)), name, unit, description, labels)

    def gauge(self, name: str, unit: str = "1", description: str = "", **labels: wire.Value) -> Gauge:
        """Bind a gauge; the same name and labels give the same handle."""
        return self._bind(Gauge(wire.attributes(b"\x3a", labels)), name, unit, description, labels)

    def histogram(
        self, name: str, unit: str = "s", description: str = "", bounds: Sequence[float] = (), **labels: wire.Value
    ) -> Histogram:
        """Bind a histogram with ``bounds``, or with the ones that ``buckets.BOUNDS`` holds for its name."""
        bounds = tuple(bounds) or BOUNDS.get(name, ())
        fresh = Histogram(wire.attributes(b"\x4a", labels), bounds)
        return self._bind(fresh, name, unit, description, labels, bounds)

    def _bind(
        self,
        fresh: Kind,
        name: str,
        unit: str,
        description: str,
        labels: dict[str, wire.Value],
        bounds: tuple[float, ...] = (),
    ) -> Kind:
        metric = self._metrics.setdefault(name, _Metric(name, unit, description, fresh.type_name, bounds))
        if (metric.type_name, metric.unit) != (fresh.type_name, unit):
            raise ValueError(f"metric {name} is already a {metric.type_name} in {metric.unit!r}")
        if metric.bounds != bounds:
            raise ValueError(f"histogram {name} already has other bounds")
        handle = metric.points.setdefault(wire.attributes(b"\x0a", dict(sorted(labels.items()))), fresh)
        assert isinstance(handle, type(fresh))
        return handle

    def collect(self, now_ns: int) -> list[bytes]:
        """One OTLP Metric message per name that has something to say at ``now_ns`` (UTC ns)."""
        time = wire.fixed64(_TIME, now_ns)
        encoded = (metric.encode(self._start, time) for metric in self._metrics.values())
        return [metric for metric in encoded if metric is not None]
