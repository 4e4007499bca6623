"""A consistent-hash ring: which replica a prefix key belongs to (Karger et al., STOC 1997).

A replica that leaves moves only its own keys. A remap (other salt, other virtual nodes or weights, as a load balancer's
update brings them) moves nearly all of them: caches are cold although every block is still there.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Collection


class HashRing:
    """``virtual_nodes`` points for each of ``replicas``; ``salt`` says where they lie."""

    def __init__(self, replicas: int, virtual_nodes: int, salt: int) -> None:
        self.salt = salt
        self.remaps = 0
        self._replicas = replicas
        self._virtual_nodes = virtual_nodes
        self._place()

    def remap(self) -> None:
        """Lay all points anew."""
        self.salt += 1
        self.remaps += 1
        self._place()

    def owner(self, key: int, candidates: Collection[int]) -> int:
        """The first of ``candidates``, at least one, that follows ``key`` on the ring."""
        start = bisect_right(self._points, _place(f"key:{key}"))
        for step in range(len(self._points)):
            owner = self._owners[(start + step) % len(self._points)]
            if owner in candidates:
                return owner
        raise ValueError(f"none of {sorted(candidates)} is on a ring of {self._replicas} replicas")

    def _place(self) -> None:
        points = sorted(
            (_place(f"{self.salt}:{replica}:{number}"), replica)
            for replica in range(self._replicas) for number in range(self._virtual_nodes)
        )
        self._points = [point for point, _ in points]
        self._owners = [replica for _, replica in points]


def _place(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
