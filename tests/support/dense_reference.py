"""The model as the papers write it, one sequence at a time, in float64: no cache, no paging, no absorption, no batching."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from instrumented_engine.model.weights import Layer, Weights, rotations


def rms(x: Tensor) -> Tensor:
    return x / x.square().mean(-1, keepdim=True).sqrt()


def turned(x: Tensor, turn: Tensor) -> Tensor:
    """Rotate pairs (2i, 2i + 1) of ``x`` [T, ..., rope] by ``turn`` [T, rope / 2]."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn.view(len(x), *(1,) * (x.dim() - 2), -1)).flatten(-2)


def attend(weights: Weights, layer: Layer, x: Tensor) -> Tensor:
    """Causal multi-head latent attention over ``x`` [T, width]."""
    size = weights.size
    turn = rotations(size)[: len(x)].to(torch.complex128)
    query = torch.einsum("tw,whd->thd", x, layer.query.double())
    compressed = x @ layer.compress.double()
    latent = rms(compressed[:, : size.latent])
    key = torch.einsum("tl,lhn->thn", latent, layer.expand_key.double())
    value = torch.einsum("tl,lhv->thv", latent, layer.expand_value.double())
    score = torch.einsum("thn,shn->hts", query[..., : size.nope], key)
    turned_query, turned_key = turned(query[..., size.nope :], turn), turned(compressed[:, size.latent :], turn)
    score = (score + torch.einsum("thr,sr->hts", turned_query, turned_key)) / math.sqrt(size.nope + size.rope)
    ahead = torch.ones(len(x), len(x)).triu(1).bool()
    share = score.masked_fill(ahead, -math.inf).softmax(-1)
    return torch.einsum("hts,shv,hvw->tw", share, value, layer.output.double())


def answer(weights: Weights, layer: Layer, number: int, x: Tensor) -> Tensor:
    """What expert ``number`` says to one token ``x`` [width]."""
    inter = weights.size.inter
    up = x @ layer.up[number].double()
    return torch.nn.functional.silu(up[:inter]) * up[inter:] @ layer.down[number].double()


def dense(weights: Weights, ids: list[int]) -> tuple[Tensor, list[list[list[int]]]]:
    """Logits [T, vocabulary] and every token's experts [T][layers][top_k] of one sequence."""
    size = weights.size
    chosen: list[list[list[int]]] = [[] for _ in ids]
    stream = weights.embedding.double()[torch.tensor(ids)]
    for layer in weights.layers:
        stream = stream + attend(weights, layer, rms(stream))
        normed = rms(stream)
        added = torch.zeros_like(stream)
        for t, x in enumerate(normed):
            score = torch.sigmoid(x @ layer.gate.double())
            best = torch.topk(score + layer.bias.double(), size.top_k).indices.tolist()
            chosen[t].append(best)
            added[t] = answer(weights, layer, size.experts, x)
            for number in best:
                added[t] += score[number] / score[best].sum() * answer(weights, layer, number, x)
        stream = stream + added
    return rms(stream) @ weights.head.double(), chosen
