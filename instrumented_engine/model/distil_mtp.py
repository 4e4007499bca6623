"""Distil the MTP head against the trunk's own greedy text: ``python -m instrumented_engine.model.distil_mtp --out FILE``.

Data: seeded random prompts, continued greedily; per position the trunk's state, the token that it made, and the token that
came after it. The head learns to name the last by cross-entropy (Adam, cosine schedule). A tenth of the generations is held
out; the acceptance written beside the weights is measured on them, with the weights as shipped.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from instrumented_engine.model.mtp import MtpHead, load_mtp, save_mtp
from instrumented_engine.model.mtp_file import shipped_mtp
from instrumented_engine.model.ragged import flatten
from instrumented_engine.model.runner import Chunk
from instrumented_engine.model.tokens import token_ids
from instrumented_engine.model.torch_runner import TorchRunner

HIDDEN, BLOCK_TOKENS, BATCH, RATE = 384, 16, 256, 2e-3
PROMPTS, OUTPUT, TOGETHER = (32, 64, 128, 256, 464), 48, 32
"""Tokens of a prompt (round by round) and of its continuation, and how many are generated together."""


def _generate(runner: TorchRunner, seed: int, rounds: int) -> Iterator[tuple[Tensor, Tensor]]:
    """States [TOGETHER, OUTPUT, width] and tokens [TOGETHER, OUTPUT] of greedy text, round by round."""
    source = np.random.default_rng([seed, 0x3179])
    per = (max(PROMPTS) + OUTPUT) // BLOCK_TOKENS
    for number in range(rounds):
        length = PROMPTS[number % len(PROMPTS)]
        texts = [token_ids(int(source.integers(1 << 62)), length, runner.shape.vocabulary) for _ in range(TOGETHER)]
        states, tokens = [], []
        for step in range(OUTPUT):
            start = 0 if step == 0 else length + step - 1
            chunks = [
                Chunk(text[start:], start, range(i * per, (i + 1) * per), True) for i, text in enumerate(texts)
            ]
            logits, _ = runner.model.forward(flatten([(0, chunks)], runner.geometry))
            best = logits.argmax(-1)
            states.append(runner.model.last.clone())
            tokens.append(best)
            for text, token in zip(texts, best.tolist(), strict=True):
                text.append(token)
        yield torch.stack(states, dim=1), torch.stack(tokens, dim=1)


def _pairs(runner: TorchRunner, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """State, normed embedding of the token that it made, and the token after that."""
    made = runner.model.embedding[tokens[:, :-1].reshape(-1)]
    made = made / torch.linalg.vector_norm(made, dim=-1, keepdim=True)
    return states[:, :-1].reshape(-1, states.shape[-1]), made, tokens[:, 1:].reshape(-1)


def distil(size: str, seed: int, rounds: int, steps: int, out: Path) -> dict[str, Any]:
    """Generate, train, measure, write to ``out``; returns the provenance."""
    blocks = TOGETHER * (max(PROMPTS) + OUTPUT) // BLOCK_TOKENS
    runner = TorchRunner(size, replicas=1, blocks=blocks, block_tokens=BLOCK_TOKENS, seed=seed, kv_dtype="float32")
    with torch.inference_mode():
        data = [_pairs(runner, *made) for made in _generate(runner, seed, rounds)]
    kept = max(1, rounds // 10)
    train = [torch.cat(parts).clone() for parts in zip(*data[kept:], strict=True)]
    held = [torch.cat(parts).clone() for parts in zip(*data[:kept], strict=True)]
    torch.manual_seed(seed)
    head, output = MtpHead(runner.size.width, HIDDEN), runner.model.head.clone()
    optimiser = torch.optim.Adam(head.parameters(), lr=RATE)
    source = torch.Generator().manual_seed(seed)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        rows = torch.randint(len(train[0]), (BATCH,), generator=source)
        logits = head(train[0][rows], train[1][rows]) @ output
        loss = torch.nn.functional.cross_entropy(logits, train[2][rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    provenance: dict[str, Any] = {
        "made_by": "python -m instrumented_engine.model.distil_mtp", "size": size, "seed": seed, "torch": torch.__version__,
        "steps": steps, "batch": BATCH, "rate": RATE, "pairs": len(train[0]), "held_out_pairs": len(held[0]),
        "data": f"prompts of {PROMPTS} random ids, {OUTPUT} tokens of greedy text each", "acceptance": [0.0],
    }
    save_mtp(head, out, provenance)
    provenance["acceptance"] = [round(_acceptance(load_mtp(out), output, held), 4)]
    save_mtp(head, out, provenance)
    return provenance


def _acceptance(head: MtpHead, output: Tensor, held: list[Tensor]) -> float:
    with torch.inference_mode():
        right = (head(held[0], held[1]) @ output).argmax(-1) == held[2]
    return float(right.float().mean())


def main(argv: list[str]) -> int:
    """Distil and write; 0 when written."""
    parser = argparse.ArgumentParser(prog="python -m instrumented_engine.model.distil_mtp", description=__doc__)
    parser.add_argument("--size", default="S", help="model size (S)")
    parser.add_argument("--seed", type=int, default=1, help="of weights, data and training (1)")
    parser.add_argument("--rounds", type=int, default=80, help=f"of {TOGETHER} texts each (80)")
    parser.add_argument("--steps", type=int, default=3_000, help="of training (3,000)")
    parser.add_argument("--out", type=Path, help="file to write (default: the head that ships with the engine)")
    arguments = parser.parse_args(argv)
    out: Path = arguments.out or shipped_mtp(arguments.size)
    provenance = distil(arguments.size, arguments.seed, arguments.rounds, arguments.steps, out)
    print(f"{out}: acceptance on held-out text {provenance['acceptance'][0]:.3f}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
