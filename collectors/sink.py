"""Where OTLP bodies go: the one interface between whatever emits telemetry and whatever keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

Signal = Literal["traces", "metrics", "logs"]
SIGNALS: tuple[Signal, ...] = ("traces", "metrics", "logs")


class Sink(Protocol):
    """Takes OTLP bodies: the bytes of an Export{Trace,Metrics,Logs}ServiceRequest, as HTTP would carry them."""

    def put(self, signal: Signal, body: bytes) -> None:
        """Take one body. It is durable only after the next ``sync``."""

    def sync(self) -> None:
        """Make every body taken so far durable."""


@dataclass(slots=True)
class MemorySink:
    """Keeps the bodies in memory, in order."""

    bodies: list[tuple[Signal, bytes]] = field(default_factory=list)

    def put(self, signal: Signal, body: bytes) -> None:
        self.bodies.append((signal, body))

    def sync(self) -> None:
        """Memory is as durable as it gets."""
