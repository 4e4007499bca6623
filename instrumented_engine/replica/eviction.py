"""Which unused block of the prefix cache goes first: least recently used, first in first out, or least often used."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import Protocol


class Eviction(Protocol):
    """The cached blocks that nobody refers to now."""

    def add(self, block: int) -> None:
        """Nobody refers to ``block`` any more."""

    def remove(self, block: int) -> None:
        """Somebody refers to ``block`` again."""

    def pop(self) -> int:
        """Take out the block that goes first; at least one must be there."""

    def __len__(self) -> int:
        """How many there are."""


class Lru:
    """Least recently used first: vLLM's and SGLang's default."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def add(self, block: int) -> None:
        """Last in the row."""
        self._blocks[block] = None

    def remove(self, block: int) -> None:
        """Out of the row."""
        del self._blocks[block]

    def pop(self) -> int:
        """The first in the row."""
        return self._blocks.popitem(last=False)[0]

    def __len__(self) -> int:
        return len(self._blocks)


class _Ranked:
    """Lowest rank first, by a heap whose outdated entries are skipped."""

    def __init__(self) -> None:
        self._rank: dict[int, tuple[int, int]] = {}
        self._heap: list[tuple[int, int, int]] = []
        self._number = 0

    def _put(self, block: int, rank: int) -> None:
        self._number += 1
        self._rank[block] = (rank, self._number)
        heapq.heappush(self._heap, (rank, self._number, block))

    def remove(self, block: int) -> None:
        """Out of the row."""
        del self._rank[block]

    def pop(self) -> int:
        """The lowest rank."""
        while True:
            rank, number, block = heapq.heappop(self._heap)
            if self._rank.get(block) == (rank, number):
                del self._rank[block]
                return block

    def __len__(self) -> int:
        return len(self._rank)


class Fifo(_Ranked):
    """Whichever was stored first goes first, however often it is used."""

    def __init__(self) -> None:
        super().__init__()
        self._stored: dict[int, int] = {}
        self._clock = 0

    def add(self, block: int) -> None:
        """Back to the place that its first use gave it."""
        if block not in self._stored:
            self._clock += 1
            self._stored[block] = self._clock
        self._put(block, self._stored[block])

    def pop(self) -> int:
        """The oldest; its content is gone, so its age is too."""
        block = super().pop()
        del self._stored[block]
        return block


class Lfu(_Ranked):
    """Least often used first (SGLang's ``lfu``)."""

    def __init__(self) -> None:
        super().__init__()
        self._uses: dict[int, int] = {}

    def add(self, block: int) -> None:
        """One use more is over."""
        self._uses[block] = self._uses.get(block, 0) + 1
        self._put(block, self._uses[block])

    def pop(self) -> int:
        """The least used; its content is gone, so its count is too."""
        block = super().pop()
        del self._uses[block]
        return block


POLICIES: dict[str, type[Lru] | type[Fifo] | type[Lfu]] = {"lru": Lru, "fifo": Fifo, "lfu": Lfu}
