"""What is told to the service manager arrives on its socket as sd_notify(3) has it, and nobody need be there."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.service.service_manager import ServiceManager


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A manager's socket and its address as NOTIFY_SOCKET has it."""
    address = str(tmp_path / "notify") if request.param == "file" else f"@flashover-test-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0", 1))
        listening.settimeout(5)
        yield listening, address


def test_each_state_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    service = ServiceManager.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())})
    assert service.watchdog_s == 30
    assert service.ready("takes OTLP on 127.0.0.1:4318") and service.alive("lag 0 s\nMAINPID=1") and service.stopping()
    assert listening.recv(4096) == b"READY=1\nSTATUS=takes OTLP on 127.0.0.1:4318"
    assert listening.recv(4096) == b"WATCHDOG=1\nSTATUS=lag 0 s MAINPID=1"
    assert listening.recv(4096) == b"STOPPING=1"


def test_without_a_manager_nothing_is_said() -> None:
    service = ServiceManager.of({"WATCHDOG_USEC": "30000000"})
    assert service.watchdog_s == 0
    assert not service.ready("") and not service.alive("") and not service.stopping()


@pytest.mark.parametrize(("variables", "watchdog_s"), [
    ({"WATCHDOG_USEC": "1500000"}, 1.5),
    ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, 0),
    ({"WATCHDOG_USEC": "soon"}, 0),
    ({"WATCHDOG_USEC": ""}, 0),
    ({}, 0),
])
def test_the_watchdog_counts_when_it_is_meant_for_this_process(variables: dict[str, str], watchdog_s: float) -> None:
    assert ServiceManager.of({"NOTIFY_SOCKET": "/run/nobody"} | variables).watchdog_s == watchdog_s


def test_a_manager_that_is_gone_or_does_not_read_stops_nothing(manager: tuple[socket.socket, str], tmp_path: Path) -> None:
    assert not ServiceManager(str(tmp_path / "gone")).ready("")
    service = ServiceManager(manager[1])
    taken = 0
    while service.alive("x" * 1000):
        taken += 1
    assert taken
    assert not service.stopping()


def test_what_is_said_once_waits_for_a_manager_that_is_slow(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    service = ServiceManager(address)
    while service.alive(""):
        pass
    late = threading.Timer(0.2, lambda: listening.recv(4096))
    late.start()
    assert service.stopping()
    late.join()
