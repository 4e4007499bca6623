"""Every token computed. Steps wait until their telemetry leaves; then chunks that do not need each other share a pass.

Steps of a replica follow each other, but a chunk has to wait only for the token that it continues and for blocks that it
takes over (see ``waves``). So requests of many steps and of all replicas go through the model together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from collectors.errors import BadInput
from instrumented_engine.model.decoder import Model, balance
from instrumented_engine.model.mtp import MtpHead, load_mtp
from instrumented_engine.model.ragged import Geometry, flatten
from instrumented_engine.model.runner import Chunk, StepOutput
from instrumented_engine.model.sizes import size_named
from instrumented_engine.model.waves import Waves
from instrumented_engine.model.weights import random_weights

PASS_ROWS = 192
KV_DTYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(slots=True)
class Waiting:
    """Chunks of one step that are computed in the same wave; ``promises``: numbers of the tokens that they sample, or -1."""

    output: StepOutput
    replica: int
    chunks: list[Chunk]
    promises: list[int]


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
        self.mtp: MtpHead | None = None
        self._drafts: dict[int, int] = {}
        self._waves = Waves(replicas * blocks)
        self._waiting: list[list[Waiting]] = []
        self._ids: list[int] = []
        self._sampled_in: dict[int, int] = {}

    def draft_with(self, path: Path) -> None:
        """From now on draft each next-but-one token with the head at ``path``; steps say how many drafts were right.
        BadInput without a head."""
        self.mtp = load_mtp(path)

    def submit(self, replica: int, chunks: Sequence[Chunk]) -> StepOutput:
        """Queue a step. Raises ValueError for a chunk that has no tokens, or none of its own blocks, or is too long."""
        for chunk in chunks:
            self.geometry.check(chunk, self.shape.context)
        output = StepOutput([], np.zeros(self.shape.layers * self.shape.experts, np.int32))
        if not chunks:
            return output
        own = [self._own(chunk) for chunk in chunks]
        parts: dict[int, Waiting] = {}
        ready = [self._ready(chunk.tokens) for chunk in own]
        for chunk, wave in zip(own, self._waves.place(replica, own, ready, self.geometry), strict=True):
            part = parts.get(wave)
            if part is None:
                part = parts[wave] = Waiting(output, replica, [], [])
            part.chunks.append(chunk)
            part.promises.append(self._promise(wave) if chunk.sample else -1)
            output.tokens.append(-2 - part.promises[-1] if chunk.sample else -1)
        for wave, part in parts.items():
            while wave >= len(self._waiting):
                self._waiting.append([])
            self._waiting[wave].append(part)
        return output

    def settle(self) -> None:
        """Compute all that waits, wave by wave."""
        waves, self._waiting = self._waiting, []
        self._waves.clear()
        self._sampled_in.clear()
        for wave in waves:
            for parts in _passes(wave):
                self._compute(parts)

    def read(self, tokens: Sequence[int]) -> list[int]:
        """The ids behind ``tokens`` of outputs; computes what waits."""
        self.settle()
        return self._resolved(tokens)

    def _promise(self, wave: int) -> int:
        """The number of a token that will be sampled in ``wave``."""
        number = len(self._ids)
        self._ids.append(-1)
        self._sampled_in[number] = wave
        return number

    def _ready(self, tokens: Sequence[int]) -> int:
        """The first wave at which all ``tokens`` are known."""
        return max((self._sampled_in.get(-2 - token, -1) + 1 for token in tokens if token < -1), default=0)

    def _own(self, chunk: Chunk) -> Chunk:
        """The chunk with a block table that stays as it is, of the blocks that it needs."""
        need = -(-(chunk.start + len(chunk.tokens)) // self.geometry.block_tokens)
        return Chunk(chunk.tokens, chunk.start, tuple(chunk.block_table[:need]), chunk.sample)

    def _resolved(self, tokens: Sequence[int]) -> list[int]:
        return [token if token >= -1 else self._ids[-2 - token] for token in tokens]

    @torch.inference_mode()
    def _compute(self, parts: list[Waiting]) -> None:
        sources = [[-2 - chunk.tokens[-1] for chunk in part.chunks] for part in parts]
        for part in parts:
            for chunk in part.chunks:
                chunk.tokens = self._resolved(chunk.tokens)
        batch = flatten([(part.replica, part.chunks) for part in parts], self.geometry)
        logits, loads = self.model.forward(batch)
        best = logits.numpy().argmax(-1).tolist()  # torch's takes ten times as long
        for part, load, places in zip(parts, loads, batch.places, strict=True):
            part.output.expert_load += load.reshape(-1).astype(np.int32)
            for promise, place in zip(part.promises, places, strict=True):
                if promise >= 0:
                    self._ids[promise] = best[place]
        if self.mtp is not None:
            self._draft(self.mtp, parts, sources, batch.places, best)

    def _draft(
        self, mtp: MtpHead, parts: list[Waiting], sources: list[list[int]], places: list[list[int]], best: list[int]
    ) -> None:
        """Hold what was sampled against what was drafted for it, and draft what comes after it."""
        drafts = mtp.draft(self.model.last, best, self.model)
        for part, froms, rows in zip(parts, sources, places, strict=True):
            for promise, source, row in zip(part.promises, froms, rows, strict=True):
                if promise < 0:
                    continue
                drafted = self._drafts.pop(source, None)
                if drafted is not None:
                    part.output.drafted += 1
                    part.output.accepted += drafted == best[row]
                self._drafts[promise] = drafts[row]


def _passes(wave: list[Waiting]) -> Iterator[list[Waiting]]:
    """Cut a wave, in its order, into passes of about ``PASS_ROWS`` rows at most: what the caches of a core like to hold."""
    parts: list[Waiting] = []
    rows = 0
    for part in wave:
        more = sum(len(chunk.tokens) for chunk in part.chunks)
        if parts and rows + more > PASS_ROWS:
            yield parts
            parts, rows = [], 0
        parts.append(part)
        rows += more
    if parts:
        yield parts
