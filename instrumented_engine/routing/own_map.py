"""A router's own idea of who holds what: what it has sent where (SGLang's approximate tree, without events).

It knows nothing of evictions, of restarts, nor of what other routers have sent.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence


class OwnMap:
    """Block key -> bit mask of replicas; the least recently used of more than ``limit`` keys is forgotten."""

    def __init__(self, replicas: int, limit: int) -> None:
        self._replicas = replicas
        self._limit = limit
        self._known: OrderedDict[int, int] = OrderedDict()

    def prefix_lengths(self, keys: Sequence[int]) -> list[int]:
        """Per replica, how many leading ``keys`` were sent there."""
        lengths = [0] * self._replicas
        alive = (1 << self._replicas) - 1
        for position, key in enumerate(keys, start=1):
            alive &= self._known.get(key, 0)
            if not alive:
                break
            for replica in range(self._replicas):
                if alive >> replica & 1:
                    lengths[replica] = position
        return lengths

    def learn(self, keys: Sequence[int], replica: int) -> None:
        """A prompt of ``keys`` went to ``replica``."""
        known = self._known
        for key in keys:
            known[key] = known.get(key, 0) | 1 << replica
            known.move_to_end(key)
        while len(known) > self._limit:
            known.popitem(last=False)
