"""The decoder: embed, layers of attention and experts, logits."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instrumented_engine.model.attention import LatentAttention, Paging
from instrumented_engine.model.experts import Experts, loads, nudge
from instrumented_engine.model.ragged import Geometry, Ragged, flatten
from instrumented_engine.model.runner import Chunk
from instrumented_engine.model.weights import Weights, rotations

_BALANCING_TOKENS = 512
_BALANCING_RATES = (0.02, 0.01, 0.005, 0.002)
_ROUNDS_PER_RATE = 8


def unit(x: Tensor) -> Tensor:
    """Rows of ``x`` at length 1. An RMS norm of gain 1 is this times sqrt(width), a factor that the next matrix carries."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length


class Model:
    """``weights`` over a paged cache [layers, slots, latent + rope]. ``last``: the normed states [sampled, width] that the
    last pass's logits were made of."""

    def __init__(self, weights: Weights, geometry: Geometry, cache: Tensor) -> None:
        self.size = weights.size
        self.geometry = geometry
        self.embedding = weights.embedding
        self.layers = [
            (LatentAttention(self.size, layer, cache[number], geometry.block_tokens), Experts(self.size, layer))
            for number, layer in enumerate(weights.layers)
        ]
        self.head = weights.head * math.sqrt(self.size.width)
        self.rotations = rotations(self.size)
        self.last = torch.empty(0, self.size.width)

    def forward(self, batch: Ragged) -> tuple[Tensor, NDArray[np.int64]]:
        """Logits [sampled, vocabulary] and expert loads [steps, layers, experts]."""
        paging = Paging(batch, self.rotations, self.geometry.span_blocks * self.geometry.block_tokens)
        stream = self.embedding.index_select(0, torch.from_numpy(batch.tokens))
        choices = []
        for attention, experts in self.layers:
            stream.add_(attention(unit(stream), paging))
            choices.append(experts(unit(stream), stream))
        self.last = unit(stream.index_select(0, torch.from_numpy(batch.sampled)))
        return torch.mm(self.last, self.head), loads(choices, batch.step, batch.steps, self.size.experts)


def balance(weights: Weights, seed: int) -> None:
    """Move the routers' biases, in place, until fresh random experts are about equally loaded by random tokens."""
    size, block_tokens = weights.size, 16
    blocks = -(-_BALANCING_TOKENS // block_tokens)
    geometry = Geometry(1, blocks, block_tokens)
    model = Model(weights, geometry, torch.zeros(size.layers, geometry.slots, size.entry))
    source = np.random.default_rng([seed, 0xB1A5])
    length = min(size.context, 64) // block_tokens * block_tokens
    for rate in _BALANCING_RATES:
        for _ in range(_ROUNDS_PER_RATE):
            ids = source.integers(0, size.vocabulary, (_BALANCING_TOKENS // length, length))
            per = length // block_tokens
            chunks = [Chunk(row.tolist(), 0, range(i * per, (i + 1) * per), False) for i, row in enumerate(ids)]
            _, load = model.forward(flatten([(0, chunks)], geometry))
            for layer, counts in zip(weights.layers, load[0], strict=True):
                nudge(layer.bias, counts, rate)
