"""No token computed: expert loads are drawn from those that torch was recorded with, so that large sweeps cost little.

What only the model knows is drawn: expert loads. Token ids, which nobody reads, are all 0. Everything else of a run is the
engine's own and the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from instrumented_engine.model.expert_profile import Tally, load_expert_profile, shipped
from instrumented_engine.model.ragged import Geometry
from instrumented_engine.model.runner import Chunk, StepOutput
from instrumented_engine.model.sizes import size_named

_DRAWS = 1024


def _draws(seed: int, replica: int) -> Iterator[int]:
    """Endless uniform integers below 2**62, of the replica's own."""
    source = np.random.default_rng([seed, replica])
    while True:
        yield from source.integers(0, 1 << 62, _DRAWS).tolist()


class RecordedRunner:
    """The runner protocol over an expert profile (default: the one that ships for ``size``).

    Every replica draws from its own stream, so results do not depend on how steps of replicas interleave. Decode rows of
    a step are one run of recorded decode tokens, every longer chunk is one run of recorded prefill tokens.
    """

    reads_tokens = False

    def __init__(
        self,
        size: str = "S",
        *,
        replicas: int,
        blocks: int,
        block_tokens: int,
        seed: int,
        profile: Path | None = None,
    ) -> None:
        self.shape = size_named(size).shape
        self.geometry = Geometry(replicas, blocks, block_tokens)
        recorded = load_expert_profile(profile or shipped(size), self.shape)
        self.provenance = recorded.provenance
        self._size = size
        self._tallies = {"": (Tally(recorded.prefill, self.shape.experts), Tally(recorded.decode, self.shape.experts))}
        self._streams = [_draws(seed, replica) for replica in range(replicas)]

    def submit(self, replica: int, chunks: Sequence[Chunk]) -> StepOutput:
        """Draw the step's result. Raises ValueError for a chunk that does not fit the context or its blocks."""
        for chunk in chunks:
            self.geometry.check(chunk, self.shape.context)
        counts = [len(chunk.tokens) for chunk in chunks]
        load = self.draw(replica, counts.count(1), [count for count in counts if count > 1])
        return StepOutput([0 if chunk.sample else -1 for chunk in chunks], load)

    def draw(self, replica: int, decoding: int, prefills: Sequence[int], content: str = "") -> NDArray[np.int32]:
        """The expert load of a step: one run of recorded decode tokens, and one of prefill tokens for each chunk."""
        draw = self._streams[replica]
        prefill, decode = self._tallies.get(content) or self._recorded(content)
        if not prefills and decoding:
            return decode.load(next(draw), decoding)
        load = np.zeros(decode.width, np.int32)
        for count in prefills:
            load += prefill.load(next(draw), count)
        if decoding:
            load += decode.load(next(draw), decoding)
        return load

    def _recorded(self, content: str) -> tuple[Tally, Tally]:
        """What was recorded of text about ``content``."""
        recorded = load_expert_profile(shipped(self._size, content), self.shape)
        experts = self.shape.experts
        self._tallies[content] = (Tally(recorded.prefill, experts), Tally(recorded.decode, experts))
        return self._tallies[content]

    def settle(self) -> None:
        """Nothing waits: results are drawn at once."""

    def read(self, tokens: Sequence[int]) -> list[int]:
        """They are ids already."""
        return list(tokens)
