"""Record which experts the torch model's tokens choose: ``python -m instrumented_engine.model.record_experts --out FILE``.

The data are seeded: prompts of random token ids, prefilled in chunks, then decoded greedily beside others, in steps like
those of a busy replica. All that comes out depends on the arguments, the CPU type and the torch build.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from instrumented_engine.model.expert_profile import Choices, ExpertProfile, shipped
from instrumented_engine.model.ragged import Ragged, flatten
from instrumented_engine.model.runner import Chunk
from instrumented_engine.model.tokens import CONTENTS, narrowed, token_ids
from instrumented_engine.model.torch_runner import TorchRunner

REPLICAS, DECODING, BLOCK_TOKENS, LONGEST = 4, 8, 8, 640
PROMPTS, OUTPUTS, CHUNKS = (64, 600), (8, 40), (10, 36)
"""Lowest and highest: prompt tokens, output tokens, tokens of a prefill chunk."""


@dataclass(slots=True)
class _Generation:
    """A request of one of the replicas, in the KV region ``place`` of its pool."""

    place: int
    ids: list[int]
    prompt: int
    outputs: int
    done: int = 0

    def chunk(self, count: int) -> Chunk:
        per = LONGEST // BLOCK_TOKENS
        end = self.done + count
        blocks = range(self.place * per, (self.place + 1) * per)
        return Chunk(self.ids[self.done : end], self.done, blocks, end == len(self.ids))


@dataclass(slots=True)
class _Replica:
    """Up to ``DECODING`` generations decode while one more prefills."""

    source: np.random.Generator
    vocabulary: int
    content: str
    free: list[int] = field(default_factory=lambda: list(range(DECODING + 1)))
    live: list[_Generation] = field(default_factory=list)

    def step(self) -> list[Chunk]:
        """What this replica computes next; a prefill waits until a place is free."""
        if self.free:
            prompt, outputs = (int(self.source.integers(*span)) for span in (PROMPTS, OUTPUTS))
            ids = token_ids(int(self.source.integers(1 << 62)), prompt, self.vocabulary)
            ids = narrowed(ids, self.content, self.vocabulary)
            self.live.append(_Generation(self.free.pop(), ids, prompt, outputs))
        size = int(self.source.integers(*CHUNKS))
        return [one.chunk(1 if one.done >= one.prompt else min(size, one.prompt - one.done)) for one in self.live]

    def advance(self, chunks: list[Chunk], sampled: list[int]) -> None:
        """Take in what ``step``'s chunks have sampled."""
        for one, chunk, token in zip(self.live, chunks, sampled, strict=True):
            one.done += len(chunk.tokens)
            if chunk.sample:
                one.ids.append(token)
        self.free += [one.place for one in self.live if len(one.ids) >= one.prompt + one.outputs]
        self.live = [one for one in self.live if len(one.ids) < one.prompt + one.outputs]


def _compute(runner: TorchRunner, batch: Ragged) -> tuple[list[list[int]], Choices]:
    """Sampled tokens per step, and every row's experts: as the load of a step of its own."""
    rows = len(batch.tokens)
    size = runner.size
    logits, load = runner.model.forward(replace(batch, step=np.arange(rows), steps=rows))
    best: list[int] = logits.numpy().argmax(-1).tolist()
    chosen: NDArray[np.int64] = np.nonzero(load)[2]
    sampled = [[best[place] if place >= 0 else -1 for place in places] for places in batch.places]
    return sampled, chosen.astype(np.uint8).reshape(rows, size.layers, size.top_k)


def _steps(runner: TorchRunner, seed: int, content: str) -> Iterator[tuple[Choices, Choices]]:
    """Choices of (prefill, decode) rows, one forward pass after the other."""
    vocabulary = runner.shape.vocabulary
    fleet = [_Replica(np.random.default_rng([seed, i]), vocabulary, content) for i in range(REPLICAS)]
    while True:
        steps = [(number, replica.step()) for number, replica in enumerate(fleet)]
        batch = flatten(steps, runner.geometry)
        sampled, choices = _compute(runner, batch)
        for replica, (_, chunks), tokens in zip(fleet, steps, sampled, strict=True):
            replica.advance(chunks, tokens)
        yield choices[batch.decode_rows :], choices[: batch.decode_rows]


def record(size: str, seed: int, tokens: int, content: str = "") -> ExpertProfile:
    """The choices of ``tokens`` tokens in prefill and as many in decode, of the model ``size`` with weights ``seed``, for text
    about ``content``."""
    blocks = (DECODING + 1) * LONGEST // BLOCK_TOKENS
    runner = TorchRunner(size, replicas=REPLICAS, blocks=blocks, block_tokens=BLOCK_TOKENS, seed=seed)
    prefill: list[Choices] = []
    decode: list[Choices] = []
    with torch.inference_mode():
        for more_prefill, more_decode in _steps(runner, seed, content):
            prefill.append(more_prefill)
            decode.append(more_decode)
            if min(sum(map(len, prefill)), sum(map(len, decode))) >= tokens:
                break
    provenance: dict[str, str | int | float] = {
        "made_by": "python -m instrumented_engine.model.record_experts",
        "size": size,
        "seed": seed,
        "torch": torch.__version__,
        "data": (
            f"prompts of {PROMPTS[0]}-{PROMPTS[1] - 1} random ids, chunks of {CHUNKS[0]}-{CHUNKS[1] - 1}, greedy outputs of "
            f"{OUTPUTS[0]}-{OUTPUTS[1] - 1}, {DECODING} decoding on each of {REPLICAS} replicas"
        ),
    }
    if content:
        provenance["content"] = content
    return ExpertProfile(np.concatenate(prefill)[:tokens], np.concatenate(decode)[:tokens], provenance)


def main(argv: list[str]) -> int:
    """Record and write; 0 when written."""
    parser = argparse.ArgumentParser(prog="python -m instrumented_engine.model.record_experts", description=__doc__)
    parser.add_argument("--size", default="S", help="model size (S)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and data (1)")
    parser.add_argument("--tokens", type=int, default=8192, help="recorded in prefill, and in decode (8192)")
    parser.add_argument("--out", type=Path, help="file to write (default: the profile that ships with the engine)")
    parser.add_argument("--content", default="", choices=("", *CONTENTS), help="what the prompts talk about (anything)")
    arguments = parser.parse_args(argv)
    out: Path = arguments.out or shipped(arguments.size, arguments.content)
    profile = record(arguments.size, arguments.seed, arguments.tokens, arguments.content)
    profile.save(out)
    print(f"{out}: {len(profile.prefill)} prefill and {len(profile.decode)} decode tokens", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
