"""Bodies that carry a number, and senders that bring each in, trying again until they are answered."""

from __future__ import annotations

import http.client
import threading
import time

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_bodies import START, resource, traces
from running_collector import RunningCollector, wait_until

from collectors.sink import SIGNALS, Signal


def numbered_body(number: int) -> tuple[Signal, bytes]:
    """A body of one span, one sample or one log record that carries ``number``."""
    at = START + number * 50_000_000
    kind = SIGNALS[number % 3]
    if kind == "traces":
        span = Span(trace_id=number.to_bytes(16, "big"), span_id=(number + 1).to_bytes(8, "big"), name="numbered",
                    start_time_unix_nano=at, end_time_unix_nano=at + 1)
        return kind, traces((resource("gateway:main"), [span]))
    if kind == "metrics":
        metrics = ExportMetricsServiceRequest()
        scope = metrics.resource_metrics.add(resource=resource("gateway:main")).scope_metrics.add()
        metric = scope.metrics.add(name="numbered")
        metric.gauge.data_points.add(time_unix_nano=at, as_int=number)
        return kind, metrics.SerializeToString()
    logs = ExportLogsServiceRequest()
    records = logs.resource_logs.add(resource=resource("gateway:main")).scope_logs.add().log_records
    records.add(time_unix_nano=at, body=AnyValue(string_value=str(number)))
    return kind, logs.SerializeToString()


NUMBERS_SQL = ("SELECT span_id - 1 AS number FROM spans UNION ALL SELECT CAST(value AS BIGINT) FROM samples UNION ALL "
               "SELECT CAST(body AS BIGINT) FROM logs")
"""The numbers of all bodies that a store has rows of."""


class Senders:
    """``count`` threads, each posting bodies of its own numbers; every body again and again until it is answered 200."""

    def __init__(self, collector: RunningCollector, count: int, pause_s: float = 0.0) -> None:
        self.answered: list[int] = []
        self.refused: dict[int, int] = {}
        self._collector, self._count, self._pause_s = collector, count, pause_s
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(first,)) for first in range(count)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let every sender bring its last body in, and join them."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        """Until so many more bodies were answered."""
        target = len(self.answered) + more
        wait_until(lambda: len(self.answered) >= target)

    def _send(self, number: int) -> None:
        while not self._ending.is_set():
            self._send_one(number)
            number += self._count
            time.sleep(self._pause_s)

    def _send_one(self, number: int) -> None:
        while True:
            try:
                status, _ = self._collector.post(*numbered_body(number))
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
                continue
            if status == 200:
                self.answered.append(number)
                return
            self.refused[status] = self.refused.get(status, 0) + 1
            time.sleep(0.05)
