"""What the engine asks of whatever computes its tokens.

Under the virtual clock nobody reads a step's result before its telemetry leaves, so a runner may let steps wait, of one
replica and of several, and compute them together later (see ``torch_runner``). Steps of a replica are handed in one
after the other; replicas own disjoint KV pools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes that the engine must know of the model: MoE layers, routed experts, experts per token, context, vocabulary."""

    layers: int
    experts: int
    top_k: int
    context: int
    vocabulary: int


@dataclass(slots=True)
class Chunk:
    """One request's part of one step.

    ``tokens`` are the ids to compute at positions ``start .. start + len(tokens)`` (decode: one id); their keys and
    values go to the blocks of ``block_table`` (pool-local block ids covering positions 0 .. at least the last one
    computed), which already hold positions ``0 .. start``. ``sample``: the last position yields a new token.
    """

    tokens: Sequence[int]
    start: int
    block_table: Sequence[int]
    sample: bool


@dataclass(slots=True)
class StepOutput:
    """``tokens``: what was sampled per chunk, -1 where ``sample`` was false. A runner that computes later gives promises:
    numbers below -1 that later chunks may carry in the place of ids, and that ``Runner.read`` turns into ids.
    ``expert_load``: int32 [layers * experts], layer-major, filled in by the next ``settle`` at the latest; it then sums to
    ``layers * top_k * computed tokens``. ``drafted``: decode rows for whose token there was a draft, ``accepted``: those whose
    draft was right; also by the next ``settle``."""

    tokens: list[int]
    expert_load: NDArray[np.int32]
    drafted: int = 0
    accepted: int = 0


class Runner(Protocol):
    """Computes steps. ``replicas`` pools of ``blocks`` KV blocks of ``block_tokens`` tokens each.

    ``reads_tokens``: whether the ids in a chunk matter to it; where not, the engine spares itself making them up.
    """

    shape: ModelShape
    reads_tokens: bool

    def submit(self, replica: int, chunks: Sequence[Chunk]) -> StepOutput:
        """Hand in the next step of replica number ``replica`` (0-based). The chunks may not change afterwards, their block
        tables may. Raises ValueError for a chunk that does not fit the context or its blocks."""

    def settle(self) -> None:
        """Compute all that waits."""

    def read(self, tokens: Sequence[int]) -> list[int]:
        """The ids behind ``tokens`` of outputs; computes what waits if it must."""


@runtime_checkable
class DrawingRunner(Runner, Protocol):
    """A runner for which only the number of tokens counts; it is spared the chunks."""

    def draw(self, replica: int, decoding: int, prefills: Sequence[int], content: str = "") -> NDArray[np.int32]:
        """The expert load of a step that decodes ``decoding`` sequences and computes chunks of ``prefills`` tokens, all of
        text about ``content``."""
