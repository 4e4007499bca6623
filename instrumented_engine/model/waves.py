"""Which of the chunks that wait may be computed in the same forward pass.

In every layer a pass writes the keys and values of all its rows before any row reads, so a chunk may share a pass with
those whose blocks it reads. It comes after the chunk that samples its input, and after all that used the blocks that it
is the first to fill. A chunk's *wave* is the earliest that this allows, counted from the last ``clear`` (list scheduling
of a dependency graph without resource limits, Graham 1966).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from instrumented_engine.model.ragged import Geometry
from instrumented_engine.model.runner import Chunk


class Waves:
    """Remembers for each of ``blocks`` KV blocks the last waves that write and read it; -1: none that waits."""

    def __init__(self, blocks: int) -> None:
        self._written: NDArray[np.int32] = np.full(blocks, -1, np.int32)
        self._read: NDArray[np.int32] = np.full(blocks, -1, np.int32)

    def clear(self) -> None:
        """All that was placed is computed."""
        self._written.fill(-1)
        self._read.fill(-1)

    def place(self, replica: int, chunks: Sequence[Chunk], ready: Sequence[int], geometry: Geometry) -> list[int]:
        """Waves of the chunks of one step, at least one, whose block tables hold just the blocks up to their ends.
        ``ready``: per chunk the first wave at which its input is known."""
        size = geometry.block_tokens
        held = np.array([len(chunk.block_table) for chunk in chunks])
        start = np.array([chunk.start for chunk in chunks])
        blocks = np.fromiter(chain.from_iterable(chunk.block_table for chunk in chunks), np.int64, int(held.sum()))
        blocks += replica * geometry.blocks
        begin = np.cumsum(held) - held
        index = np.arange(len(blocks)) - np.repeat(begin, held)
        first_to_fill = index >= np.repeat(-(-start // size), held)
        written = self._written[blocks]
        after = np.where(first_to_fill, np.maximum(written, self._read[blocks]) + 1, written)
        waves = np.maximum(np.maximum.reduceat(after, begin), ready)
        of_block = np.repeat(waves, held)
        np.maximum.at(self._read, blocks, of_block)
        fills = index >= np.repeat(start // size, held)
        self._written[blocks[fills]] = of_block[fills]
        placed: list[int] = waves.tolist()
        return placed
