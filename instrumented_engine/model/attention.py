"""Multi-head latent attention over paged latents, in the absorbed form (DeepSeek-V2, arXiv 2405.04434 §2.1.2).

The key expansion is multiplied into the query and the value expansion into the output matrix, so that all heads attend
to the cached ``latent + rope`` numbers themselves, as in multi-query attention, and nothing is expanded per cached token.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from instrumented_engine.model.ragged import TILE, Ragged
from instrumented_engine.model.sizes import ModelSize
from instrumented_engine.model.weights import Layer

_LOG2_E = math.log2(math.e)
_LARGEST_EXPONENT = 127.0
"""Of float32. Weights that keep every score below it need no running maximum in softmax, which saves a pass."""


def _spectral(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, ord=2))


class Paging:
    """Index tensors of one batch, made once and used by every layer. ``penalty`` [S, 1, W]: -inf past the context."""

    def __init__(self, batch: Ragged, rotations: Tensor, span: int) -> None:
        self.turn = rotations.index_select(0, torch.from_numpy(batch.positions)).unsqueeze(1)
        self.slots = torch.from_numpy(batch.slots)
        self.gather = torch.from_numpy(batch.gather)
        self.owner = torch.from_numpy(batch.owner)
        beyond = torch.arange(span) >= torch.from_numpy(batch.lengths).unsqueeze(1)
        self.penalty = torch.zeros(beyond.shape).masked_fill_(beyond, -math.inf).unsqueeze(1)
        self.span = span
        self.decode_rows = batch.decode_rows
        self.tiles = batch.tiles


class LatentAttention:
    """One layer's attention. ``cache``: [slots, latent + rope], written before it is read."""

    def __init__(self, size: ModelSize, layer: Layer, cache: Tensor, block_tokens: int) -> None:
        self.size = size
        self.cache = cache
        self.blocks = cache.view(-1, block_tokens * size.entry)
        # Unit norms stand for RMS norms of gain 1; their factors sqrt(width), sqrt(latent) and the score scale go in here.
        scale = _LOG2_E / math.sqrt(size.nope + size.rope)
        absorbed = torch.einsum("whn,lhn->whl", layer.query[..., : size.nope], layer.expand_key) * math.sqrt(size.latent)
        query = torch.cat([absorbed, layer.query[..., size.nope :]], dim=-1) * scale
        self.project = torch.cat([query, layer.compress.unsqueeze(1)], dim=1).flatten(1) * math.sqrt(size.width)
        self.output = torch.einsum("lhv,hvw->hlw", layer.expand_value, layer.output).flatten(0, 1) * math.sqrt(size.latent)
        self._check_exponents()
        ahead = torch.ones(TILE, TILE).triu_(1).bool()
        penalty = torch.zeros(TILE, TILE).masked_fill_(ahead, -math.inf)
        self.causal = penalty.repeat_interleave(size.heads, dim=0)

    def _check_exponents(self) -> None:
        """Raise AssertionError if 2 ** score, summed over a full context, could overflow: the norm of ``x`` and of the
        latent is 1, so a score is at most the product of the matrices' spectral norms."""
        size = self.size
        parts = self.project.view(size.width, size.heads + 1, size.entry)
        turning_key = _spectral(parts[:, -1, size.latent :])
        score = max(
            _spectral(parts[:, head, : size.latent]) + _spectral(parts[:, head, size.latent :]) * turning_key
            for head in range(size.heads)
        )
        if score + math.log2(size.context) > _LARGEST_EXPONENT:
            raise AssertionError(f"attention scores may reach 2 ** {score:.0f}; such weights need a running maximum")

    def __call__(self, x: Tensor, paging: Paging) -> Tensor:
        """``x`` [N, width], of unit norm -> [N, width]."""
        size = self.size
        rows = torch.mm(x, self.project).view(-1, size.heads + 1, size.entry)
        pairs = rows[..., size.latent :].unflatten(-1, (-1, 2))  # type: ignore[no-untyped-call]
        torch.view_as_complex(pairs).mul_(paging.turn)
        latent = rows[:, -1, : size.latent]
        latent.div_(torch.linalg.vector_norm(latent, dim=-1, keepdim=True))
        self.cache.index_copy_(0, paging.slots, rows[:, -1].to(self.cache.dtype))
        keys = self.blocks.index_select(0, paging.gather).view(-1, size.entry).to(x.dtype)
        query = rows[:, :-1].contiguous()
        mixed = torch.zeros(len(x), size.heads, size.latent)
        mass = torch.zeros(len(x), size.heads, 1)
        self._attend_spans(query, keys, mixed, mass, paging)
        self._attend_tiles(query.view(-1, size.entry), keys, mixed, mass, paging)
        return torch.mm(mixed.div_(mass).view(len(x), -1), self.output)

    def _attend_spans(self, query: Tensor, keys: Tensor, mixed: Tensor, mass: Tensor, paging: Paging) -> None:
        """Decode rows: every span at once, then summed per row."""
        if not paging.decode_rows:
            return
        spans = keys[: len(paging.owner) * paging.span].view(len(paging.owner), paging.span, -1)
        weight = torch.bmm(query.index_select(0, paging.owner), spans.transpose(1, 2)).add_(paging.penalty).exp2_()
        mixed.index_add_(0, paging.owner, torch.bmm(weight, spans[..., : self.size.latent]))
        mass.index_add_(0, paging.owner, weight.sum(-1, keepdim=True))

    def _attend_tiles(self, query: Tensor, keys: Tensor, mixed: Tensor, mass: Tensor, paging: Paging) -> None:
        """Longer chunks, one tile after the other. ``query`` [N * heads, latent + rope]."""
        heads, latent = self.size.heads, self.size.latent
        mixed, mass = mixed.view(-1, latent), mass.view(-1, 1)
        for tile in paging.tiles:
            first, last, own = tile.first * heads, tile.last * heads, tile.last - tile.first
            context = keys[tile.begin : tile.end]
            weight = torch.mm(query[first:last], context.T)
            weight[:, -own:].add_(self.causal[: last - first, :own])
            weight.exp2_()
            torch.mm(weight, context[:, :latent], out=mixed[first:last])
            torch.sum(weight, -1, keepdim=True, out=mass[first:last])
