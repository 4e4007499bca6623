"""Telling systemd how the service is: ready, alive, stopping. Without systemd nothing is said, and nothing is lost.

The protocol is that of sd_notify(3): lines of text in one datagram to the socket that ``NOTIFY_SOCKET`` names.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Self

_WAIT_S = 2.0
"""What is said once may wait so long for a manager with a full queue; a sign of life is not worth a wait."""


class ServiceManager:
    """``address``: of the manager's socket, None when there is none; it starts with ``@`` in the abstract namespace.
    ``watchdog_s``: seconds within which the manager wants to hear ``alive`` again; 0 when it does not."""

    def __init__(self, address: str | None, watchdog_s: float = 0.0) -> None:
        self._address = address
        self.watchdog_s = watchdog_s if address else 0.0

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Self:
        """The manager that the process's variables name; the watchdog counts only when it is meant for this process."""
        mine = variables.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = variables.get("WATCHDOG_USEC", "") if mine else ""
        return cls(variables.get("NOTIFY_SOCKET"), int(usec) / 1e6 if usec.isdecimal() else 0.0)

    def ready(self, status: str) -> bool:
        """The service can be used; ``status`` is what ``systemctl status`` shows."""
        return self._tell(_WAIT_S, "READY=1", f"STATUS={_one_line(status)}")

    def alive(self, status: str) -> bool:
        """The service still runs. Say it at least twice in ``watchdog_s``."""
        return self._tell(0.0, "WATCHDOG=1", f"STATUS={_one_line(status)}")

    def stopping(self) -> bool:
        """The service has begun to stop."""
        return self._tell(_WAIT_S, "STOPPING=1")

    def _tell(self, wait_s: float, *lines: str) -> bool:
        """Whether the manager took it within ``wait_s``. One that is gone or slow is no reason to stop taking telemetry."""
        if not self._address:
            return False
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.settimeout(wait_s)
            try:
                manager.sendto("\n".join(lines).encode(), address)
            except OSError:
                return False
        return True


def _one_line(status: str) -> str:
    return " ".join(status.split())
