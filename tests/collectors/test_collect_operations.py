"""A running collector as its operator meets it: service manager, log, probe, /metrics."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from otlp_bodies import START, log_body, resource, root_span, traces
from prometheus_client.parser import text_string_to_metric_families
from running_collector import RunningCollector, wait_until

ROOT = Path(__file__).resolve().parents[2]


class Manager:
    """A service manager: reads what it is told until it is closed."""

    def __init__(self, address: Path) -> None:
        self.address, self.told = str(address), list[str]()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while (said := self._socket.recv(4096)) != b"END":
            self.told.append(said.decode())

    def close(self) -> None:
        """Read no more."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"END", self.address)
        self._reader.join()
        self._socket.close()


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    here = Manager(tmp_path_factory.mktemp("manager") / "notify")
    yield here
    here.close()


@pytest.fixture(scope="module")
def collector(manager: Manager, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    running = RunningCollector(tmp_path_factory.mktemp("collector") / "store", NOTIFY_SOCKET=manager.address,
                               WATCHDOG_USEC="300000")
    running.start()
    yield running
    running.end()


def test_it_tells_the_manager_that_it_is_ready_and_then_that_it_lives(collector: RunningCollector, manager: Manager) -> None:
    wait_until(lambda: len(manager.told) >= 3)
    assert manager.told[0].startswith("READY=1\nSTATUS=")
    assert all(said.startswith("WATCHDOG=1\nSTATUS=") for said in manager.told[1:])


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
    command = [sys.executable, "-m", "collectors.service.health_probe"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["status"] == "ok"


def test_it_says_that_it_stops_and_its_log_is_json(collector: RunningCollector, manager: Manager) -> None:
    assert collector.stop() == 0
    wait_until(lambda: "STOPPING=1" in manager.told)
    events = [json.loads(line) for line in collector.said().splitlines()]
    assert "stopping" in [event["event"] for event in events]
    assert all(set(event) == {"ts", "level", "event", "fields"} for event in events)
    assert "xxxx" not in collector.said()
