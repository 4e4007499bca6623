"""Metrics of services over time, as public data sets have them, and their way into a store: OTLP gauges, as a scrape sends."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import ScopeMetrics

from collectors.intake import Intake

_ROWS_A_BODY = 100


@dataclass(frozen=True, slots=True)
class Column:
    """One series: whose it is, the metric's name, labels, unit. ``kind``: of its entity."""

    service: str
    name: str
    labels: tuple[tuple[str, str], ...] = ()
    unit: str = ""
    kind: str = "service"

    @property
    def entity(self) -> str:
        """Its entity in a store."""
        return f"{self.kind}:{self.service}"


@dataclass(frozen=True, slots=True)
class MetricTable:
    """``times_s`` [time] unix seconds, rising; ``values`` [time, column], NaN where nothing was measured."""

    times_s: NDArray[np.float64]
    columns: tuple[Column, ...]
    values: NDArray[np.float64]

    def rows(self, first: int, last: int) -> MetricTable:
        """The rows ``first <= i < last``."""
        return replace(self, times_s=self.times_s[first:last], values=self.values[first:last])

    def moved(self, by_s: float) -> MetricTable:
        """The same, so much later."""
        return replace(self, times_s=self.times_s + by_s)

    @property
    def end_s(self) -> float:
        """When its next row would have come."""
        steps = np.diff(self.times_s)
        return float(self.times_s[-1] + (np.median(steps) if len(steps) else 1.0))

    def followed_by(self, other: MetricTable) -> MetricTable:
        """Both in one table. Columns are those of ``other``; where this one lacks one it has a gap."""
        places = {column: i for i, column in enumerate(self.columns)}
        before = np.full((len(self.times_s), len(other.columns)), math.nan)
        for i, column in enumerate(other.columns):
            if column in places:
                before[:, i] = self.values[:, places[column]]
        return MetricTable(np.concatenate([self.times_s, other.times_s]), other.columns, np.concatenate([before, other.values]))


def fill_store(path: Path, table: MetricTable, calls: Iterable[tuple[str, str]] = ()) -> None:
    """A new store at ``path`` with ``table``, and ``calls`` (service, service it calls) as edges that resources declare."""
    entities = {column.service: column.entity for column in table.columns}
    callees: dict[str, list[str]] = {}
    for caller, callee in sorted(calls):
        callees.setdefault(caller, []).append(entities.get(callee, f"service:{callee}"))
    with Intake.open(path) as intake:
        for first in range(0, len(table.times_s), _ROWS_A_BODY):
            intake.put("metrics", _body(table.rows(first, first + _ROWS_A_BODY), callees).SerializeToString())
        intake.sync()


def _body(table: MetricTable, callees: dict[str, list[str]]) -> ExportMetricsServiceRequest:
    body = ExportMetricsServiceRequest()
    times = [round(at * 1e9) for at in table.times_s.tolist()]
    owners: dict[str, list[int]] = {}
    for i, column in enumerate(table.columns):
        owners.setdefault(column.service, []).append(i)
    for service, places in owners.items():
        resource = body.resource_metrics.add()
        resource.resource.attributes.add(key="service.name").value.string_value = service
        resource.resource.attributes.add(key="flashover.entity").value.string_value = table.columns[places[0]].entity
        if service in callees:
            resource.resource.attributes.add(key="flashover.edge.calls").value.string_value = ",".join(callees[service])
        scope = resource.scope_metrics.add()
        for i in places:
            _add(scope, table.columns[i], times, table.values[:, i].tolist())
    return body


def _add(scope: ScopeMetrics, column: Column, times: Sequence[int], values: Sequence[float]) -> None:
    metric = scope.metrics.add(name=column.name, unit=column.unit)
    for at, value in zip(times, values, strict=True):
        if math.isfinite(value):
            point = metric.gauge.data_points.add(time_unix_nano=at, as_double=value)
            for key, text in column.labels:
                point.attributes.add(key=key).value.string_value = text
