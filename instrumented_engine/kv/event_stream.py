"""A replica's stream of block events towards the KV index: numbered, bounded, lossy.

vLLM publishes BlockStored/BlockRemoved over ZMQ PUB with a sequence number and a finite high-water mark: a slow reader
loses the oldest events, sees a gap in the numbers, and has to ask for everything again (a full dump).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from instrumented_engine.replica.kv_blocks import BlockEvent

_MIX = 0x9E3779B97F4A7C15


class Numbered(NamedTuple):
    """One event as it travels: its sequence number, when it happened, what happened."""

    sequence: int
    at_ns: int
    event: BlockEvent


class EventStream:
    """The events of one replica that the index has not read yet; at most ``capacity`` of them.

    ``loss``: share lost on the way, which shows as a gap in the numbers. ``hash_seed``: what block names are hashed with.
    """

    def __init__(
        self, capacity: int, now: Callable[[], int], wake: Callable[[], None], luck: random.Random | None = None
    ) -> None:
        self.capacity = capacity
        self.loss = 0.0
        self.hash_seed = 0
        self._luck = luck or random.Random(0)
        self.published = 0
        self.dropped = 0
        self.pending: deque[Numbered] = deque()
        self._now = now
        self._wake = wake

    def publish(self, event: BlockEvent) -> None:
        """Append one event; when the buffer is full the oldest one is lost."""
        if self.hash_seed:
            event = (event[0], self.name_of(event[1]))
        if self.loss and self._luck.random() < self.loss:
            self.published += 1
            self.dropped += 1
            return
        if len(self.pending) >= self.capacity:
            self.pending.popleft()
            self.dropped += 1
        self.published += 1
        self.pending.append(Numbered(self.published, self._now(), event))
        self._wake()

    def name_of(self, key: int) -> int:
        """What the replica calls the block ``key``."""
        return key ^ self.hash_seed * _MIX if self.hash_seed else key

    def clear(self) -> int:
        """Forget what is pending, because a dump taken now contains it. Returns the last sequence number published."""
        self.pending.clear()
        return self.published
