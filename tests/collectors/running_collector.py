"""A real ``flashover collect`` in processes of its own, and senders that try again until they are answered."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_bodies import resource, traces

from collectors.sink import SIGNALS, Signal

ROOT = Path(__file__).parents[2]
START = 1_770_000_000_000_000_000


class RunningCollector:
    """One store's collector; ``start`` again after ``kill``. The port stays the same."""

    def __init__(self, store: Path, **variables: str) -> None:
        self.store, self.port = store, 0
        self._variables = variables
        self._process: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> str:
        """Start it and return its first line; AssertionError with what it said when it ends instead."""
        command = [sys.executable, "-m", "flashover", "collect", "--store", str(self.store), "--http",
                   f"127.0.0.1:{self.port}", "--grpc", "off", *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "FLASHOVER_COLLECT_DISK_RESERVE": "0", **self._variables}
        with (self.store.parent / f"{self.store.name}.log").open("a") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
                                             cwd=self.store.parent)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.match(r"ready: http 127\.0\.0\.1:(\d+)", line)
        if found is None:
            self._process.wait()
            self._close()
        assert found, (line, self.said())
        self.port = int(found[1])
        return line

    @property
    def pid(self) -> int:
        """The receiver's process id."""
        assert self._process is not None
        return self._process.pid

    def worker_pid(self) -> int | None:
        """The worker's process id; None while there is none."""
        try:
            found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except FileNotFoundError:
            return None
        return int(found[0]) if found else None

    def kill(self) -> None:
        """SIGKILL for the receiver."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._close()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=120)
        self._close()
        return code

    def end(self) -> None:
        """End it if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def said(self) -> str:
        """What it wrote to stderr, over all its lives."""
        return (self.store.parent / f"{self.store.name}.log").read_text()

    def post(self, signal_name: Signal, body: bytes, timeout_s: float = 30.0) -> tuple[int, bytes]:
        """One request by a connection of its own: status and answer. OSError or HTTPException when there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("POST", f"/v1/{signal_name}", body, {"content-type": "application/x-protobuf"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, bytes]:
        """One GET: status and answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _close(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        self._process.stdout.close()


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


def wait_until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    """Until ``holds``; AssertionError when it does not within ``seconds``."""
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.01)
