"""A running collector as its operator meets it: service manager, log, probe, /metrics."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from otlp_bodies import START, log_body, resource, root_span, traces
from prometheus_client.parser import text_string_to_metric_families
from running_collector import RunningCollector

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[socket.socket]:
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path_factory.mktemp("manager") / "notify"))
        listening.settimeout(30)
        yield listening


@pytest.fixture(scope="module")
def collector(manager: socket.socket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    running = RunningCollector(tmp_path_factory.mktemp("collector") / "store", NOTIFY_SOCKET=manager.getsockname(),
                               WATCHDOG_USEC="300000")
    running.start()
    yield running
    running.end()


def test_it_tells_the_manager_that_it_is_ready_and_then_that_it_lives(
    collector: RunningCollector, manager: socket.socket
) -> None:
    assert manager.recv(4096).startswith(b"READY=1\nSTATUS=")
    assert manager.recv(4096).startswith(b"WATCHDOG=1\nSTATUS=")
    assert manager.recv(4096).startswith(b"WATCHDOG=1\nSTATUS=")


def test_the_page_shows_what_came_in(collector: RunningCollector) -> None:
    body = traces((resource("gateway:main"), [root_span(1, START)]))
    assert collector.post("traces", body)[0] == 200
    assert collector.post("traces", body)[0] == 200
    assert collector.post("logs", log_body(START, "x" * 70_000))[0] == 200
    assert collector.post("metrics", b"\xff\xff")[0] == 400
    families = {family.name: family for family in text_string_to_metric_families(collector.get("/metrics")[1].decode())}
    requests = {(sample.labels["signal"], sample.labels["outcome"]): sample.value
                for sample in families["flashover_collector_requests"].samples if sample.labels["transport"] == "http"}
    assert {key: value for key, value in requests.items() if value} == {
        ("traces", "ok"): 1, ("traces", "duplicate"): 1, ("logs", "ok"): 1, ("metrics", "malformed"): 1}
    (synced,) = families["flashover_collector_synced_frames"].samples
    assert synced.value == 2
    assert families["flashover_collector_healthy"].samples[0].value == 1


def test_the_probe_finds_it_healthy(collector: RunningCollector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHOVER_COLLECT_HTTP", f"0.0.0.0:{collector.port}")
    command = [sys.executable, "-m", "collectors.health_probe"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["status"] == "ok"


def test_it_says_that_it_stops_and_its_log_is_json(collector: RunningCollector, manager: socket.socket) -> None:
    assert collector.stop() == 0
    told = b""
    while not told.startswith(b"STOPPING=1"):
        told = manager.recv(4096)
    events = [json.loads(line) for line in collector.said().splitlines()]
    assert "stopping" in [event["event"] for event in events]
    assert all(set(event) == {"ts", "level", "event", "fields"} for event in events)
    assert "xxxx" not in collector.said()
