"""Random weights by seed, as the papers write them, and the absorbed form in which attention is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from instrumented_engine.model.sizes import ModelSize

SCORE_SPREAD = 1.0  # standard deviation of attention logits
GATE_SPREAD = 1.0  # of router logits
RESIDUAL = 0.5  # root mean square of what a sub-layer adds to the stream, which starts at 1
ROPE_BASE = 10_000.0


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. Matrices stand as [in, out]; norms have unit gain. E routed experts are followed by the shared one.

    ``query`` [width, heads, nope + rope]; ``compress`` [width, latent + rope]; ``expand_key`` [latent, heads, nope];
    ``expand_value`` [latent, heads, value]; ``output`` [heads, value, width]; ``gate`` [width, E]; ``bias`` [E], which
    steers selection and nothing else; ``up`` [E + 1, width, 2 * inter] (gate and up side by side); ``down``
    [E + 1, inter, width].
    """

    query: Tensor
    compress: Tensor
    expand_key: Tensor
    expand_value: Tensor
    output: Tensor
    gate: Tensor
    bias: Tensor
    up: Tensor
    down: Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """``embedding`` [vocabulary, width], ``layers``, ``head`` [width, vocabulary]; all float32."""

    size: ModelSize
    embedding: Tensor
    layers: list[Layer]
    head: Tensor


def random_weights(size: ModelSize, seed: int) -> Weights:
    """Weights that keep every activation near unit scale; the same for a seed on every machine."""
    source = torch.Generator().manual_seed(seed)

    def normal(*shape: int, fan_in: int, gain: float = 1.0) -> Tensor:
        return torch.randn(*shape, generator=source) * (gain / math.sqrt(fan_in))

    def layer() -> Layer:
        width, heads, experts = size.width, size.heads, size.experts
        return Layer(
            query=normal(width, heads, size.nope + size.rope, fan_in=width, gain=SCORE_SPREAD),
            compress=normal(width, size.entry, fan_in=width),
            expand_key=normal(size.latent, heads, size.nope, fan_in=size.latent),
            expand_value=normal(size.latent, heads, size.value, fan_in=size.latent),
            output=normal(heads, size.value, width, fan_in=heads * size.value, gain=RESIDUAL),
            gate=normal(width, experts, fan_in=width, gain=GATE_SPREAD),
            bias=torch.zeros(experts),
            up=normal(experts + 1, width, 2 * size.inter, fan_in=width),
            down=normal(experts + 1, size.inter, width, fan_in=size.inter, gain=RESIDUAL),
        )

    return Weights(
        size,
        embedding=normal(size.vocabulary, size.width, fan_in=1),
        layers=[layer() for _ in range(size.layers)],
        head=normal(size.width, size.vocabulary, fan_in=size.width),
    )


def rotations(size: ModelSize) -> Tensor:
    """RoPE as complex factors [context, rope / 2]: position p turns pair i by ``p * base ** (-2 i / rope)`` radians."""
    frequency = ROPE_BASE ** (-torch.arange(0, size.rope, 2, dtype=torch.float64) / size.rope)
    angle = torch.outer(torch.arange(size.context, dtype=torch.float64), frequency)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
