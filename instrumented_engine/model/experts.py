"""Mixture of experts: sigmoid routing with a selection bias (DeepSeek-V3, arXiv 2412.19437 §2.1.2), sorted by expert."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from instrumented_engine.model.sizes import ModelSize
from instrumented_engine.model.weights import Layer


class Experts:
    """One layer's experts. The shared expert is number E in the sort: every token chooses it, with weight 1."""

    def __init__(self, size: ModelSize, layer: Layer) -> None:
        self.size = size
        self.gate = layer.gate * math.sqrt(size.width)
        self.bias = layer.bias
        self.up = layer.up * math.sqrt(size.width)
        self.down = layer.down

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Chosen experts [N, top_k] and their weights, which sum to 1; ``x`` [N, width] has unit norm."""
        scores = torch.mm(x, self.gate).sigmoid_()
        chosen = torch.topk(scores + self.bias, self.size.top_k, dim=-1, sorted=False).indices
        weights = scores.gather(1, chosen)
        return chosen, weights.div_(weights.sum(-1, keepdim=True))

    def __call__(self, x: Tensor, stream: Tensor) -> NDArray[np.int64]:
        """Add the experts' answer to ``stream`` [N, width] in place; the experts [N, top_k] that were chosen."""
        rows, inter, top_k = len(x), self.size.inter, self.size.top_k
        chosen, weights = self.route(x)
        choices = chosen.numpy()
        flat = choices.ravel().astype(np.uint8)
        routed = rows * top_k
        row = np.arange(-routed, rows)
        order = flat.argsort(kind="stable")
        np.floor_divide(order, top_k, out=row[:routed])
        weight = np.ones((routed + rows, 1), np.float32)
        np.take(weights.numpy().ravel(), order, out=weight[:routed, 0])
        ends = np.append(np.bincount(flat, minlength=self.size.experts), rows).cumsum(dtype=np.int32)
        place, offsets = torch.from_numpy(row), torch.from_numpy(ends)
        hidden = F.grouped_mm(x.index_select(0, place), self.up, offs=offsets)
        inner = F.silu(hidden[:, :inter]).mul_(hidden[:, inter:]).mul_(torch.from_numpy(weight))
        stream.index_add_(0, place, F.grouped_mm(inner, self.down, offs=offsets))
        return choices


def loads(choices: list[NDArray[np.int64]], step: NDArray[np.int64], steps: int, experts: int) -> NDArray[np.int64]:
    """Tokens per expert [steps, layers, experts], from each layer's choices [N, top_k] and every row's step [N]."""
    layers = len(choices)
    cell = np.stack(choices, axis=1)
    cell += (step[:, None] * layers + np.arange(layers))[..., None] * experts
    return np.bincount(cell.ravel(), minlength=steps * layers * experts).reshape(steps, layers, experts)


def nudge(bias: Tensor, load: NDArray[np.int64], rate: float) -> None:
    """One update of auxiliary-loss-free balancing (Wang et al., arXiv 2408.15664): in place, every expert's bias moves by
    ``rate`` against the sign of its load's excess over the mean."""
    bias.add_(torch.from_numpy(np.sign(load.mean() - load)).to(bias.dtype), alpha=rate)
