"""What a collector tells Prometheus about itself, by prometheus-client.

Requests are counted as they are answered. Everything else is read from ``Vitals`` when the page is asked for, so that the
page and /health never disagree. Series whose labels are known beforehand start at 0, so that their first rise is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.decode.limits import Reason
from collectors.schema import TABLES
from collectors.service.vitals import Vitals
from collectors.sink import SIGNALS, Signal

Transport = Literal["http", "grpc"]
Outcome = Literal["ok", "duplicate", "malformed", "too_large", "unsupported", "unauthorised", "timed_out",
                  "queue_full", "journal_full", "disk_full", "stopping", "error"]

_PREFIX = "flashover_collector_"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A metric that is read from ``Vitals``. ``label``: of a mapping's keys, of which ``known`` are always shown."""

    name: str
    family: type[CounterMetricFamily] | type[GaugeMetricFamily]
    meaning: str
    read: Callable[[Vitals], float | Mapping[str, int]]
    label: str = ""
    known: tuple[str, ...] = ()

    def of(self, vitals: Vitals) -> Metric:
        """The metric with its value or values."""
        found = self.read(vitals)
        family = self.family(_PREFIX + self.name, self.meaning, labels=[self.label] if self.label else [])
        if isinstance(found, Mapping):
            for value, count in (dict.fromkeys(self.known, 0) | dict(found)).items():
                family.add_metric([value], count)
        else:
            family.add_metric([], found)
        return family


_READINGS = (
    _Reading("rows_total", CounterMetricFamily, "Rows appended to a table since the collector started.",
             lambda v: v.rows, "table", tuple(TABLES)),
    _Reading("rejects_total", CounterMetricFamily, "Records that the decoder refused, kept in the rejects table.",
             lambda v: v.rejects, "signal", SIGNALS),
    _Reading("drops_total", CounterMetricFamily,
             "Attributes left out, texts cut, prompt texts left out, samples of series beyond the limit.",
             lambda v: v.drops, "reason", get_args(Reason)),
    _Reading("queue_bytes", GaugeMetricFamily, "Bytes of bodies that wait for the disk.", lambda v: v.queue_bytes),
    _Reading("journal_bytes", GaugeMetricFamily, "Bytes of journal that wait for decoding.", lambda v: v.journal_bytes),
    _Reading("journal_frames", GaugeMetricFamily, "Bodies in the journal that wait for decoding.",
             lambda v: v.journal_frames),
    _Reading("synced_frames_total", CounterMetricFamily, "Number of the last body that is durable, since the store began.",
             lambda v: v.synced_seq),
    _Reading("decoded_frames_total", CounterMetricFamily,
             "Number of the last body that is in the tables, since the store began.", lambda v: v.decoded_seq),
    _Reading("decode_lag_seconds", GaugeMetricFamily, "Age of the oldest body that is not in the tables.",
             lambda v: v.lag_s),
    _Reading("worker_restarts_total", CounterMetricFamily, "Times the decoding process was started anew.",
             lambda v: v.restarts),
    _Reading("disk_free_bytes", GaugeMetricFamily, "Free bytes of the store's disk.", lambda v: v.disk_free_bytes),
    _Reading("healthy", GaugeMetricFamily, "1 when /health answers 200, 0 when it names a problem.",
             lambda v: float(not v.problems)),
)


class _FromVitals(Collector):
    """Gives the metrics that are read from the last vitals."""

    vitals = Vitals()

    def collect(self) -> Iterator[Metric]:
        """Every metric of ``_READINGS``."""
        for reading in _READINGS:
            yield reading.of(self.vitals)


@dataclass(frozen=True, slots=True)
class _Page(Collector):
    """A registry without the ``_created`` times, which the text format can only show as gauges of their own."""

    registry: CollectorRegistry

    def collect(self) -> Iterator[Metric]:
        """Every metric of the registry."""
        for metric in self.registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


class OwnMetrics:
    """Counts every request that comes in; gauges come from ``Vitals`` when the page is asked for.

    ``worker_pid`` gives the process id of the worker, whose memory and CPU time are shown beside this process's; None
    while there is none.
    """

    def __init__(self, worker_pid: Callable[[], int | None] = lambda: None) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            _PREFIX + "requests_total", "Requests by how they were answered.", ["transport", "signal", "outcome"],
            registry=self._registry)
        self._bytes = Counter(
            _PREFIX + "received_bytes_total", "Bytes of bodies as they were sent.", ["transport", "signal"],
            registry=self._registry)
        self._seconds = Histogram(
            _PREFIX + "request_duration_seconds", "From the start of a request to its answer, the disk's sync included.",
            ["transport", "signal"], buckets=_SECONDS, registry=self._registry)
        self._from_vitals = _FromVitals()
        self._registry.register(self._from_vitals)
        ProcessCollector(registry=self._registry)
        ProcessCollector("flashover_collector_worker", lambda: worker_pid() or "none", registry=self._registry)
        PlatformCollector(registry=self._registry)
        for transport in get_args(Transport):
            for signal in SIGNALS:
                self._requests.labels(transport, signal, "ok")
                self._bytes.labels(transport, signal)
                self._seconds.labels(transport, signal)

    def received(self, transport: Transport, signal: Signal | None, outcome: Outcome, wire_bytes: int, seconds: float) -> None:
        """Count one request and how it was answered. ``signal`` is None when it asked for nothing that is here."""
        name = signal or "none"
        self._requests.labels(transport, name, outcome).inc()
        self._bytes.labels(transport, name).inc(wire_bytes)
        self._seconds.labels(transport, name).observe(seconds)

    def page(self, vitals: Vitals) -> bytes:
        """The /metrics page in Prometheus's text format."""
        self._from_vitals.vitals = vitals
        return generate_latest(_Page(self._registry))


def markdown() -> str:
    """The table of the collector's own metrics as docs/collecting.md shows it."""
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in OwnMetrics()._registry.collect():
        if metric.name.startswith(_PREFIX) and "_worker_process_" not in metric.name:
            name = metric.name + "_total" * (metric.type == "counter")
            labels = ", ".join(f"`{label}`" for label in _labels(metric))
            lines.append(f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |")
    return "\n".join(lines)


def _labels(metric: Metric) -> list[str]:
    return list(dict.fromkeys(label for sample in metric.samples for label in sample.labels if label != "le"))
