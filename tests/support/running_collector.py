"""A real ``flashover collect`` in processes of its own."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from collectors.sink import Signal

ROOT = Path(__file__).parents[2]


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
        return self.post_as(signal_name, body, "application/x-protobuf", timeout_s)

    def post_as(self, signal_name: Signal, body: bytes, content_type: str, timeout_s: float = 30.0) -> tuple[int, bytes]:
        """As ``post``, of any content type."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("POST", f"/v1/{signal_name}", body, {"content-type": content_type})
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


def wait_until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    """Until ``holds``; AssertionError when it does not within ``seconds``."""
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.01)
