"""Mixture of experts: sigmoid routing with a selection bias (DeepSeek-V3, arXiv 2412.19437 §2.1.2), sorted by expert."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from instrumented_engine.sizes import ModelSize
from instrumented_engine.weights import Layer


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

    def __call__(self, x: Tensor, stream: Tensor, step: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
        """Add the experts' answer to ``stream`` [N, width] in place; the load [steps, E] of the rows' steps."""
        rows, experts, top_k = len(x), self.size.experts, self.size.top_k
        chosen, weights = self.route(x)
        flat = chosen.numpy().ravel()
        load = np.bincount(np.repeat(step * experts, top_k) + flat, minlength=steps * experts).reshape(steps, experts)
        order = np.argsort(flat.astype(np.uint8), kind="stable")
        row = torch.from_numpy(np.concatenate([order // top_k, np.arange(rows)]))
        ends = torch.from_numpy(np.cumsum(np.append(load.sum(0), rows), dtype=np.int32))
        weight = torch.cat([weights.view(-1).index_select(0, torch.from_numpy(order)), torch.ones(rows)])
        hidden = F.grouped_mm(x.index_select(0, row), self.up, offs=ends)
        inner = F.silu(hidden[:, : self.size.inter]).mul_(hidden[:, self.size.inter :]).mul_(weight.unsqueeze(1))
        stream.index_add_(0, row, F.grouped_mm(inner, self.down, offs=ends))
        return load


def nudge(bias: Tensor, load: NDArray[np.int64], rate: float) -> None:
    """One update of auxiliary-loss-free balancing (Wang et al., arXiv 2408.15664): in place, every expert's bias moves by
    ``rate`` against the sign of its load's excess over the mean."""
    bias.add_(torch.from_numpy(np.sign(load.mean() - load)).to(bias.dtype), alpha=rate)
