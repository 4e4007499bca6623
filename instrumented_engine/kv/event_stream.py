"""A replica's stream of block events towards the KV index: numbered, bounded, lossy.

vLLM publishes BlockStored/BlockRemoved over ZMQ PUB with a sequence number and a finite high-water mark: a slow reader
loses the oldest events, sees a gap in the numbers, and has to ask for everything again (a full dump).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from instrumented_engine.replica.kv_blocks import BlockEvent


class Numbered(NamedTuple):
    """One event as it travels: its sequence number, when it happened, what happened."""

    sequence: int
    at_ns: int
    event: BlockEvent


class EventStream:
    """The events of one replica that the index has not read yet; at most ``capacity`` of them."""

    def __init__(self, capacity: int, now: Callable[[], int], wake: Callable[[], None]) -> None:
        self.capacity = capacity
        self.published = 0
        self.dropped = 0
        self.pending: deque[Numbered] = deque()
        self._now = now
        self._wake = wake

    def publish(self, event: BlockEvent) -> None:
        """Append one event; when the buffer is full the oldest one is lost."""
        if len(self.pending) >= self.capacity:
            self.pending.popleft()
            self.dropped += 1
        self.published += 1
        self.pending.append(Numbered(self.published, self._now(), event))
        self._wake()

    def clear(self) -> int:
        """Forget what is pending, because a dump taken now contains it. Returns the last sequence number published."""
        self.pending.clear()
        return self.published
