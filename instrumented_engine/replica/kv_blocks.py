"""Paged KV memory of one replica with a prefix cache: which block holds what, who uses it, what may be reused.

A block is free, referenced by running requests, or cached (complete, unreferenced, kept until its space is needed; which
goes first is ``eviction``'s to say). Complete prompt blocks are found again by key, since a key names the whole prefix.
Storing and evicting a key is announced through ``announce``: this is the event stream that feeds the KV index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from instrumented_engine.replica.eviction import POLICIES, Eviction

BlockEvent = tuple[Literal["stored", "removed"], int]
"""What happened to a block key: vLLM's BlockStored and BlockRemoved."""


class BlockPool:
    """``total`` blocks; ``eviction`` is the name of a policy. Invariant: free + cached + referenced = total (``check``)."""

    def __init__(self, total: int, announce: Callable[[BlockEvent], None], eviction: str = "lru") -> None:
        self.total = total
        self.stored = 0
        self.evicted = 0
        self._announce = announce
        self._free = list(range(total - 1, -1, -1))
        self._references = [0] * total
        self._key: list[int | None] = [None] * total
        self._by_key: dict[int, int] = {}
        self._eviction = eviction
        self._unused: Eviction = POLICIES[eviction]()
        self._retired: list[int] = []

    @property
    def eviction(self) -> str:
        """The policy by which cached blocks go. A new one begins with the order in which the old one would have let go."""
        return self._eviction

    @eviction.setter
    def eviction(self, policy: str) -> None:
        before, self._eviction, self._unused = self._unused, policy, POLICIES[policy]()
        while len(before):
            self._unused.add(before.pop())

    @property
    def available(self) -> int:
        """Blocks that can be had: free ones, and cached ones that nobody uses."""
        return len(self._free) + len(self._unused)

    @property
    def used(self) -> int:
        """Blocks that running requests refer to."""
        return self.total - self.available

    @property
    def cached(self) -> int:
        """Keys that can be hit."""
        return len(self._by_key)

    def keys(self) -> list[int]:
        """Every key held, oldest first: the content of a full dump."""
        return list(self._by_key)

    def match(self, keys: Sequence[int]) -> int:
        """How many leading ``keys`` are held."""
        by_key = self._by_key
        for position, key in enumerate(keys):
            if key not in by_key:
                return position
        return len(keys)

    def reuse(self, keys: Sequence[int]) -> list[int]:
        """Refer to the blocks that hold ``keys``, all of which must be held."""
        blocks = [self._by_key[key] for key in keys]
        for block in blocks:
            if self._references[block] == 0:
                self._unused.remove(block)
            self._references[block] += 1
        return blocks

    def allocate(self, count: int) -> list[int] | None:
        """``count`` fresh blocks, evicting cached ones if need be; None, and nothing changed, when there are too few."""
        if count > self.available:
            return None
        blocks: list[int] = []
        for _ in range(count):
            if self._free:
                block = self._free.pop()
            else:
                block = self._unused.pop()
                self._forget(block)
                self.evicted += 1
            self._references[block] = 1
            blocks.append(block)
        return blocks

    def complete(self, block: int, key: int) -> None:
        """A block's prompt content is computed: from now on others may hit it (unless another block holds the key)."""
        if key in self._by_key or self._key[block] is not None:
            return
        self._by_key[key] = block
        self._key[block] = key
        self.stored += 1
        self._announce(("stored", key))

    def release(self, blocks: Sequence[int]) -> None:
        """Give up one reference to each block. The tail of a prefix becomes evictable before its head."""
        for block in reversed(blocks):
            self._references[block] -= 1
            if self._references[block] == 0:
                if self._key[block] is None:
                    self._free.append(block)
                else:
                    self._unused.add(block)

    def clear(self) -> None:
        """Lose all content without a word, as a dead process does, also what was set aside for KV on its way here."""
        self._references = [0] * len(self._references)
        self._by_key.clear()
        self._unused = POLICIES[self._eviction]()
        self._key = [None] * len(self._key)
        retired = set(self._retired)
        self._free = [block for block in range(len(self._key) - 1, -1, -1) if block not in retired]

    def retire(self, count: int) -> int:
        """Take up to ``count`` unreferenced blocks out of use (rows that the memory has given up); returns how many."""
        taken = 0
        while taken < count and self.available > 1:
            if self._free:
                block = self._free.pop()
            else:
                block = self._unused.pop()
                self._forget(block)
                self.evicted += 1
            self._retired.append(block)
            taken += 1
        self.total -= taken
        return taken

    def restore(self) -> None:
        """Put all retired blocks to use again, as a replaced card does."""
        self.total += len(self._retired)
        self._free += self._retired
        self._retired.clear()

    def _forget(self, block: int) -> None:
        key = self._key[block]
        if key is None:
            raise AssertionError(f"block {block} is cached without a key")
        del self._by_key[key]
        self._key[block] = None
        self._announce(("removed", key))

    def check(self) -> None:
        """Raise AssertionError when a block is lost or counted twice."""
        referenced = sum(1 for count in self._references if count > 0)
        if len(self._free) + len(self._unused) + referenced != self.total:
            raise AssertionError(f"{len(self._free)} free + {len(self._unused)} cached + {referenced} used != {self.total}")
        if any(self._key[block] != key for key, block in self._by_key.items()):
            raise AssertionError("a key points at a block that does not hold it")
