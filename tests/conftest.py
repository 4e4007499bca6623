"""For every test: the rooms are this checkout's, nothing leaves the machine, and no test depends on its speed."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import socket
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("collectors", "instrumented_engine", "analysis", "incidents", "dashboards", "flashover")

os.environ.setdefault("OMP_NUM_THREADS", "1")
# The same examples every run, so that a red test is the change's doing; new ones are for `make explore`.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, print_blob=True)
hypothesis.settings.load_profile("house")


def pytest_configure() -> None:
    """The rooms have plain names: stop when another distribution's folder would be tested instead of ours."""
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        origin = None if spec is None else spec.origin
        if origin is None or not Path(origin).resolve().is_relative_to(ROOT):
            raise pytest.UsageError(f"{room} is {origin}, not this checkout's; install it with: make setup")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections of this process reach this machine alone."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
            raise RuntimeError(f"a test tried to reach {address}; tests have no network")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
