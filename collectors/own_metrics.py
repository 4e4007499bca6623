"""What a collector tells Prometheus about itself, by prometheus-client, and whether it is healthy."""

from __future__ import annotations

from typing import Literal

from collectors.sink import Signal
from collectors.vitals import Vitals

Transport = Literal["http", "grpc"]
Outcome = Literal["ok", "duplicate", "malformed", "too_large", "unsupported", "unauthorised", "timed_out",
                  "queue_full", "journal_full", "disk_full", "stopping", "error"]


class OwnMetrics:
    """Counts every request that comes in; gauges come from ``Vitals`` when the page is asked for."""

    def received(self, transport: Transport, signal: Signal | None, outcome: Outcome, wire_bytes: int, seconds: float) -> None:
        """Count one request and how it was answered. ``signal`` is None when it asked for nothing that is here."""
        raise NotImplementedError

    def page(self, vitals: Vitals) -> bytes:
        """The /metrics page in Prometheus's text format."""
        raise NotImplementedError
