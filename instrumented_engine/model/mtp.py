"""The multi-token-prediction head: from the state that made one token and that token, a draft of the one after it.

DeepSeek-V3 (arXiv 2412.19437, 2.2): the trunk's last state and the embedding of the next token, both normed, are projected
together, go through a block, and share the output head with the trunk. Ours has a block without attention, so it needs no
cache. Its weights are distilled by ``distil_mtp`` and shipped; with random ones hardly a draft would be right.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from instrumented_engine.model.mtp_file import read_mtp

if TYPE_CHECKING:
    from instrumented_engine.model.decoder import Model


class MtpHead(torch.nn.Module):
    """``project`` [2 * width, hidden], ``down`` [hidden, width]."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.project = torch.nn.Linear(2 * width, hidden)
        self.down = torch.nn.Linear(hidden, width)

    def forward(self, state: Tensor, embedded: Tensor) -> Tensor:
        """The state [n, width] that the shared output head makes the draft's logits of. Both inputs are normed."""
        inner = torch.nn.functional.silu(self.project(torch.cat([state, embedded], dim=-1)))
        out: Tensor = state + self.down(inner)
        normed: Tensor = out / torch.linalg.vector_norm(out, dim=-1, keepdim=True)
        return normed

    @torch.inference_mode()
    def draft(self, states: Tensor, tokens: list[int], model: Model) -> list[int]:
        """Per row the most likely token after ``tokens``, which ``states`` were the last states before."""
        if not tokens:
            return []
        embedded = model.embedding.index_select(0, torch.tensor(tokens))
        embedded = embedded / torch.linalg.vector_norm(embedded, dim=-1, keepdim=True)
        ids: list[int] = torch.mm(self(states, embedded), model.head).numpy().argmax(-1).tolist()
        return ids


def load_mtp(path: Path) -> MtpHead:
    """Read the head at ``path``. Raises BadInput when there is none."""
    arrays, _ = read_mtp(path)
    hidden, both = arrays["project_weight"].shape
    head = MtpHead(both // 2, hidden)
    with torch.no_grad():
        for name in ("project", "down"):
            layer = getattr(head, name)
            layer.weight.copy_(torch.from_numpy(arrays[f"{name}_weight"].astype(np.float32)))
            layer.bias.copy_(torch.from_numpy(arrays[f"{name}_bias"].astype(np.float32)))
    return head


def save_mtp(head: MtpHead, path: Path, provenance: dict[str, Any]) -> None:
    """Write weights in half precision, and how they were made."""
    arrays = {
        f"{name}_{part}": getattr(getattr(head, name), part).detach().numpy().astype(np.float16)
        for name in ("project", "down") for part in ("weight", "bias")
    }
    text = np.frombuffer(json.dumps(provenance, sort_keys=True).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays, provenance=text)
