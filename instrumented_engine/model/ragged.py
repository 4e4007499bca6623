"""Steps of any replicas, flattened into one batch of rows and the index arrays that one forward pass needs.

A row is a token to compute. Decode rows (chunks of one token) come first, then the longer chunks. Attention of a decode
row goes over fixed *spans* of its context, so that rows of all lengths share one batched product with little padding
(the split of Flash-Decoding, Dao et al. 2023); a longer chunk is cut into *tiles* of at most ``TILE`` rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from instrumented_engine.model.runner import Chunk

SPAN = 128
"""Context positions per span, rounded down to whole KV blocks."""
TILE = 128
"""Rows of a chunk whose attention is computed in one product."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Geometry:
    """The KV pool: ``replicas`` pools of ``blocks`` blocks of ``block_tokens`` slots, then one spare block for padding."""

    replicas: int
    blocks: int
    block_tokens: int

    @property
    def slots(self) -> int:
        """Token slots, the spare block included."""
        return (self.replicas * self.blocks + 1) * self.block_tokens

    @property
    def span_blocks(self) -> int:
        """Blocks per span."""
        return max(1, SPAN // self.block_tokens)

    def check(self, chunk: Chunk, context: int) -> None:
        """Raise ValueError if ``chunk`` has no tokens, goes beyond ``context``, or has not the blocks for it."""
        end = chunk.start + len(chunk.tokens)
        if end == chunk.start or end > context:
            raise ValueError(f"a chunk of {len(chunk.tokens)} tokens at {chunk.start} does not fit a context of {context}")
        if end > len(chunk.block_table) * self.block_tokens:
            raise ValueError(f"a chunk up to position {end} has only {len(chunk.block_table)} KV blocks")


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows ``first .. last`` attend to the gathered positions ``begin .. end``; the last ``last - first`` of these are
    the rows' own."""

    first: int
    last: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Ragged:
    """One batch of N rows, D of them decode rows with S spans of W positions.

    ``tokens``, ``positions``, ``slots`` (where the row's KV goes) and ``step`` (which of the steps it belongs to): [N].
    ``gather``: blocks to read, first those of the spans, then those of the tiles. ``owner`` [S]: the span's decode row;
    ``lengths`` [S]: positions of the span that exist. ``sampled``: rows whose logits are wanted; ``places``: for each
    step, for each of its chunks, the index into ``sampled``, or -1.
    """

    tokens: Indices
    positions: Indices
    slots: Indices
    step: Indices
    steps: int
    decode_rows: int
    gather: Indices
    owner: Indices
    lengths: Indices
    tiles: list[Tile]
    sampled: Indices
    places: list[list[int]]


def _runs(counts: Indices) -> tuple[Indices, Indices]:
    """For runs of ``counts`` items laid end to end: which run each item is in, and its place inside the run."""
    run = np.repeat(np.arange(len(counts)), counts)
    return run, np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts)


def flatten(steps: Sequence[tuple[int, Sequence[Chunk]]], geometry: Geometry) -> Ragged:
    """Batch ``steps``, pairs of replica number and chunks. At least one chunk must have tokens."""
    size, spare = geometry.block_tokens, geometry.replicas * geometry.blocks
    labelled = [(number, replica, chunk) for number, (replica, chunks) in enumerate(steps) for chunk in chunks]
    order = sorted(range(len(labelled)), key=lambda i: len(labelled[i][2].tokens) > 1)
    items = [labelled[i] for i in order]
    counts = np.array([len(chunk.tokens) for _, _, chunk in items])
    ends = np.array([chunk.start for _, _, chunk in items]) + counts
    held = -(-ends // size)
    tables = np.fromiter(
        chain.from_iterable(chunk.block_table[:need] for (_, _, chunk), need in zip(items, held.tolist(), strict=True)),
        np.int64,
        int(held.sum()),
    )
    tables += np.repeat(np.array([replica for _, replica, _ in items]) * geometry.blocks, held)
    table_at = np.cumsum(held) - held

    item, offset = _runs(counts)
    positions = (ends - counts)[item] + offset
    slots = tables[table_at[item] + positions // size] * size + positions % size
    decode_rows = int((counts == 1).sum())

    span = geometry.span_blocks
    spans = -(-held[:decode_rows] // span)
    owner, place = _runs(spans)
    padded = np.full((len(owner), span), spare)
    block_owner, block_place = _runs(held[:decode_rows])
    span_at = np.cumsum(spans) - spans
    padded[span_at[block_owner] + block_place // span, block_place % span] = tables[: len(block_owner)]

    last_rows = np.cumsum(counts) - 1
    sampling = [i for i, (_, _, chunk) in enumerate(items) if chunk.sample]
    places = [[-1] * len(chunks) for _, chunks in steps]
    starts = np.cumsum([0] + [len(chunks) for _, chunks in steps])
    for index, i in enumerate(sampling):
        number = items[i][0]
        places[number][order[i] - int(starts[number])] = index
    return Ragged(
        tokens=np.fromiter(chain.from_iterable(chunk.tokens for _, _, chunk in items), np.int64, len(item)),
        positions=positions,
        slots=slots,
        step=np.array([number for number, _, _ in items])[item],
        steps=len(steps),
        decode_rows=decode_rows,
        gather=np.concatenate([padded.ravel(), tables[len(block_owner) :]]),
        owner=owner,
        lengths=np.minimum(ends[owner] - place * span * size, span * size),
        tiles=_tiles(counts[decode_rows:], ends[decode_rows:], held[decode_rows:], decode_rows, padded.size, size),
        sampled=last_rows[sampling],
        places=places,
    )


def _tiles(counts: Indices, ends: Indices, held: Indices, row: int, block: int, size: int) -> list[Tile]:
    """Cut chunks whose rows start at ``row`` and whose gathered blocks start at ``block`` into tiles."""
    tiles = []
    for count, end, blocks in zip(counts.tolist(), ends.tolist(), held.tolist(), strict=True):
        begin = block * size
        for first in range(0, count, TILE):
            last = min(first + TILE, count)
            tiles.append(Tile(row + first, row + last, begin, begin + end - count + last))
        row += count
        block += blocks
    return tiles
