"""Every token computed: steps of all replicas wait until one is needed, then share one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from collectors.errors import BadInput
from instrumented_engine.model import Model, balance
from instrumented_engine.ragged import Geometry, flatten
from instrumented_engine.runner import Chunk, StepOutput, Ticket
from instrumented_engine.sizes import size_named
from instrumented_engine.weights import random_weights

KV_DTYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(slots=True, eq=False)
class Pending:
    """A step that was begun; ``output`` is there once it has been computed."""

    replica: int
    chunks: list[Chunk]
    output: StepOutput | None = None


class TorchRunner:
    """Runs on one thread of the CPU; the same calls give the same bits on one CPU type and torch build.

    The KV pools take ``layers * replicas * blocks * block_tokens * entry`` numbers of ``kv_dtype``; pages are only
    occupied once written. Sampling is greedy.
    """

    reads_tokens = True

    def __init__(
        self, size: str = "S", *, replicas: int, blocks: int, block_tokens: int, seed: int, kv_dtype: str = "float16"
    ) -> None:
        if kv_dtype not in KV_DTYPES:
            raise BadInput(f"KV type {kv_dtype!r} does not exist; there are: {', '.join(sorted(KV_DTYPES))}")
        torch.set_num_threads(1)
        self.size = size_named(size)
        self.shape = self.size.shape
        self.geometry = Geometry(replicas, blocks, block_tokens)
        shape = (self.size.layers, self.geometry.slots, self.size.entry)
        with torch.inference_mode():
            cache = torch.from_numpy(np.zeros(shape, kv_dtype))  # numpy's zeros occupy no memory before they are written
            weights = random_weights(self.size, seed)
            balance(weights, seed)
            self.model = Model(weights, self.geometry, cache)
        self.weights = weights
        self._waiting: dict[int, Pending] = {}

    def begin(self, replica: int, chunks: Sequence[Chunk]) -> Pending:
        """Queue a step. Raises ValueError for a chunk that has no tokens, or none of its own blocks, or is too long."""
        if replica in self._waiting:
            raise ValueError(f"replica {replica} began a step before it finished its last")
        for chunk in chunks:
            self.geometry.check(chunk, self.shape.context)
        pending = self._waiting[replica] = Pending(replica, list(chunks))
        return pending

    def finish(self, ticket: Ticket) -> StepOutput:
        """The step's result; computes everything that waits if this step has not been computed."""
        if isinstance(ticket, Pending):
            if ticket.output is None:
                self._compute()
            if ticket.output is not None:
                return ticket.output
        raise ValueError("this ticket is of another runner")

    @torch.inference_mode()
    def _compute(self) -> None:
        waiting = list(self._waiting.values())
        self._waiting.clear()
        busy = [pending for pending in waiting if pending.chunks]
        for pending in waiting:
            if not pending.chunks:
                pending.output = StepOutput([], np.zeros(self.shape.layers * self.shape.experts, np.int32))
        if not busy:
            return
        batch = flatten([(pending.replica, pending.chunks) for pending in busy], self.geometry)
        logits, loads = self.model.forward(batch)
        best = logits.numpy().argmax(-1).tolist()  # torch's takes ten times as long
        for pending, load, places in zip(busy, loads, batch.places, strict=True):
            tokens = [best[place] if place >= 0 else -1 for place in places]
            pending.output = StepOutput(tokens, load.reshape(-1).astype(np.int32))
