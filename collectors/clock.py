"""Wall time as an argument: whoever needs the time takes a ``Clock``, so that tests and replays can say what time it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time in UTC nanoseconds."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01T00:00:00Z."""


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's own clock."""

    def now_ns(self) -> int:
        return time.time_ns()


@dataclass(frozen=True, slots=True)
class MonotonicClock:
    """Time since some moment, which runs on whatever is done to the machine's clock: for ages within one process."""

    def now_ns(self) -> int:
        return time.monotonic_ns()


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is moved."""

    at_ns: int = 0

    def now_ns(self) -> int:
        return self.at_ns

    def advance(self, ns: int) -> None:
        """Move on by ``ns``; time does not run backwards (ValueError)."""
        if ns < 0:
            raise ValueError(f"a clock cannot be moved by {ns} ns: time does not run backwards")
        self.at_ns += ns


def iso(at_ns: int, digits: int = 3) -> str:
    """``at_ns`` as ISO 8601 in UTC with ``digits`` (0-9) decimals, cut and not rounded: ``2026-03-29T13:35:00.000Z``."""
    seconds, rest = divmod(at_ns, 1_000_000_000)
    stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{rest:09d}"[: 20 + digits].rstrip(".") + "Z"


def parse_iso(text: str) -> int:
    """UTC nanoseconds of an ISO 8601 time; one without an offset is UTC. Raises ValueError naming the text.

    Digits beyond the nanosecond are cut; ``fromisoformat`` alone would stop at microseconds.
    """
    head, dot, tail = text.strip().partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))] if dot else ""
    try:
        at = datetime.fromisoformat(head + tail[len(digits) :])
    except ValueError:
        raise ValueError(f"{text!r} is not a time like 2026-03-29T13:35:00Z") from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return round(at.timestamp()) * 1_000_000_000 + int(digits[:9].ljust(9, "0"))
