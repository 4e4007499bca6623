"""What the engine asks of whatever computes its tokens.

A step is begun and finished separately. Under the virtual clock the result of a step is needed only when the step
ends, so a runner may let steps of several replicas wait and compute them in one forward pass (see ``torch_runner``).
Steps of one replica never overlap, and replicas own disjoint KV pools, so pending steps never touch the same block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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
    """``tokens``: the sampled id per chunk, -1 where ``sample`` was false. ``expert_load``: int32 [layers * experts],
    layer-major, summing to ``layers * top_k * computed tokens``."""

    tokens: list[int]
    expert_load: NDArray[np.int32]


class Ticket(Protocol):
    """A step that was begun; give it back to ``finish``."""


class Runner(Protocol):
    """Computes steps. ``replicas`` pools of ``blocks`` KV blocks of ``block_tokens`` tokens each.

    ``reads_tokens``: whether the ids in a chunk matter to it; where not, the engine spares itself making them up.
    """

    shape: ModelShape
    reads_tokens: bool

    def begin(self, replica: int, chunks: Sequence[Chunk]) -> Ticket:
        """Hand in a step of replica number ``replica`` (0-based)."""

    def finish(self, ticket: Ticket) -> StepOutput:
        """The step's result; computes whatever is pending if it must."""
