"""A real collector over both transports, and a ledger of what it must have counted: every number on /metrics that says
what came in is compared, so that what moves beside what was sent is noticed."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import Any

import grpc
import httpx
from google.rpc.status_pb2 import Status
from prometheus_client.parser import text_string_to_metric_families
from running_collector import RunningCollector, wait_until
from senders import numbered_body

from collectors.sink import SIGNALS, Signal

METHODS = {signal: f"/opentelemetry.proto.collector.{name}.v1.{name.capitalize()}Service/Export"
           for signal, name in zip(SIGNALS, ("trace", "metrics", "logs"), strict=True)}
PROTOBUF, JSON = "application/x-protobuf", "application/json"
_COUNTED = ("requests", "received_bytes", "synced_frames", "decoded_frames", "rows", "rejects", "drops", "worker_restarts")

Key = tuple[str, ...]


class Ledger:
    """``expected``: what /metrics must show, by metric's name and its labels' values; zeros are left out."""

    def __init__(self, collector: RunningCollector) -> None:
        line = collector.start("--grpc", "127.0.0.1:0")
        found = re.search(r"grpc (\S+?),", line)
        assert found
        self.collector, self.grpc_address = collector, found[1]
        self.expected: Counter[Key] = Counter()
        self.good: list[int] = []
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{collector.port}", timeout=30)
        self._channel = grpc.insecure_channel(self.grpc_address)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()
        self._channel.close()

    def post(self, path: str, body: Any, content_type: str = PROTOBUF, **headers: str) -> httpx.Response:
        """One request over HTTP."""
        named = {name.replace("_", "-"): value for name, value in headers.items()} | {"content-type": content_type}
        return self._client.post(path, content=body, headers={name: value for name, value in named.items() if value})

    def request(self, method: str, path: str) -> httpx.Response:
        """One request over HTTP without a body."""
        return self._client.request(method, path)

    def call(self, signal: Signal, body: bytes, **how: Any) -> grpc.RpcError | None:
        """One call over gRPC; its error, None when it succeeds with an empty answer."""
        return self.call_method(METHODS[signal], body, **how)

    def call_method(self, method: str, body: bytes, **how: Any) -> grpc.RpcError | None:
        """As ``call``, of any method."""
        try:
            assert self._channel.unary_unary(method)(body, timeout=30, **how) == b""
        except grpc.RpcError as error:
            return error
        return None

    def counted(self, transport: str, signal: Signal | None, outcome: str, wire_bytes: int) -> None:
        """Expect one request of this outcome, of so many bytes; those of a body that was not read whole are not foretold."""
        self.expected["requests", transport, signal or "none", outcome] += 1
        if wire_bytes:
            self.expected["received_bytes", transport, signal or "none"] += wire_bytes

    def taken(self, transport: str, signal: Signal, wire_bytes: int, **rows: int) -> None:
        """Expect one body taken, with rows by table; ``rejects`` among them are of its signal."""
        self.counted(transport, signal, "ok", wire_bytes)
        self.expected["synced_frames",] += 1
        self.expected["decoded_frames",] += 1
        for table, count in rows.items():
            self.expected["rows", table] += count
            if table == "rejects":
                self.expected["rejects", signal] += count

    def send_good_ones(self) -> None:
        """Send one good body over each transport: they are taken."""
        for transport in ("http", "grpc"):
            number = len(self.good)
            signal, body = numbered_body(number)
            if transport == "http":
                assert self.post(f"/v1/{signal}", body).status_code == 200
            else:
                assert self.call(signal, body) is None
            self.good.append(number)
            self.taken(transport, signal, len(body), **_rows_of(signal, number))

    def check_requests(self, any_bytes: bool = False) -> None:
        """/metrics shows what it must of requests and frames taken. ``any_bytes``: how much was read of a body that was
        refused depends on when, so the bytes shown are believed."""
        names = {"requests", "synced_frames", "worker_restarts"} | (set() if any_bytes else {"received_bytes"})
        for _ in range(200):  # a call's end may be counted when its client has the answer already
            if self._shown(names) == self._expected(names):
                break
            time.sleep(0.01)
        self._same(names)
        if any_bytes:
            shown = self._shown({"received_bytes"})
            assert all(shown[key] >= count for key, count in self._expected({"received_bytes"}).items())
            self.expected.update(shown - self._expected({"received_bytes"}))

    def check_all(self) -> None:
        """/metrics shows all that it must, once everything is decoded."""
        wait_until(lambda: self._shown({"decoded_frames"}) == self._expected({"decoded_frames"}), 60)
        self._same(set(_COUNTED))

    def _same(self, names: set[str]) -> None:
        shown, expected = self._shown(names), self._expected(names)
        assert shown == expected, {"not sent": dict(shown - expected), "not shown": dict(expected - shown)}

    def _expected(self, names: set[str]) -> Counter[Key]:
        return Counter({key: count for key, count in self.expected.items() if key[0] in names})

    def _shown(self, names: set[str]) -> Counter[Key]:
        page = self._client.get("/metrics")
        assert page.status_code == 200
        return Counter({(name, *_labels(sample.labels)): int(sample.value)
                        for family in text_string_to_metric_families(page.text)
                        if (name := family.name.removeprefix("flashover_collector_")) in names
                        for sample in family.samples if sample.value})


def status_of(answer: httpx.Response) -> Status:
    """The google.rpc.Status of an answer over HTTP, in the form that it says."""
    if answer.headers["content-type"] == PROTOBUF:
        return Status.FromString(answer.content)
    assert answer.headers["content-type"] == JSON
    said = answer.json()
    assert said.keys() == {"code", "message"}
    return Status(**said)


def grpc_status_of(error: Any) -> Status:
    """The google.rpc.Status of a failed call; gRPC's own refusals have none, and theirs is made of code and details."""
    sent = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    status = Status(code=error.code().value[0], message=error.details())
    assert sent is None or Status.FromString(sent) == status
    return status


def _labels(labels: dict[str, str]) -> list[str]:
    order = ("transport", "signal", "outcome", "table", "reason")
    return [labels[name] for name in order if name in labels]


def _rows_of(signal: Signal, number: int) -> dict[str, int]:
    """What ``numbered_body`` is stored as: the one series of all its samples comes with the first."""
    return {"spans": 1} if signal == "traces" else {"logs": 1} if signal == "logs" else (
        {"samples": 1, "series": int(number == 1)})
