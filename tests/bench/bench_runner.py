"""What a step costs: ``python tests/bench/bench_runner.py``. CPU time of one thread, microseconds.

Per composition of a step (decode rows + prefill tokens on each of four replicas), in one process and taking turns: all
replicas in one forward pass; the reference, every request in a pass of its own; and the recorded runner. Each figure is
the mean over steps of the least of several repeats.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from instrumented_engine.model.recorded_runner import RecordedRunner
from instrumented_engine.model.runner import Chunk, Runner
from instrumented_engine.model.torch_runner import TorchRunner

REPLICAS, BLOCKS, BLOCK_TOKENS = 4, 32_768, 8
COMPOSITIONS = ((1, 0), (8, 0), (0, 25), (6, 10), (8, 25), (12, 35))
STEPS, REPEATS = 16, 6
Step = list[list[Chunk]]


def make_step(source: np.random.Generator, decoding: int, prefill: int) -> Step:
    """Decode rows at 100-600 tokens of context, and one chunk of ``prefill`` tokens after 0-400 cached ones."""

    def chunk(count: int, start: int) -> Chunk:
        table = source.choice(BLOCKS, (start + count) // BLOCK_TOKENS + 1, replace=False)
        return Chunk(source.integers(0, 4096, count).tolist(), start, table.tolist(), True)

    def replica() -> list[Chunk]:
        chunks = [chunk(1, int(source.integers(100, 600))) for _ in range(decoding)]
        return [*chunks, chunk(prefill, int(source.integers(0, 400)))] if prefill else chunks

    return [replica() for _ in range(REPLICAS)]


def together(runner: Runner, step: Step) -> None:
    for replica, chunks in enumerate(step):
        runner.submit(replica, chunks)
    runner.settle()


def one_by_one(runner: Runner, step: Step) -> None:
    for replica, chunks in enumerate(step):
        for chunk in chunks:
            runner.submit(replica, [chunk])
            runner.settle()


def cpu_us(action: Callable[[Runner, Step], None], runner: Runner, step: Step) -> float:
    start = time.thread_time_ns()
    action(runner, step)
    return (time.thread_time_ns() - start) / 1e3


def main() -> None:
    """Measure and print."""
    torch = TorchRunner("S", replicas=REPLICAS, blocks=BLOCKS, block_tokens=BLOCK_TOKENS, seed=1)
    recorded = RecordedRunner("S", replicas=REPLICAS, blocks=BLOCKS, block_tokens=BLOCK_TOKENS, seed=1)
    ways = (("torch", together, torch), ("one by one", one_by_one, torch), ("recorded", together, recorded))
    source = np.random.default_rng(1)
    print("per replica        rows   torch  us/row  one by one  ratio  recorded (per replica)")
    for decoding, prefill in COMPOSITIONS:
        steps = [make_step(source, decoding, prefill) for _ in range(STEPS)]
        least = {name: np.full(STEPS, np.inf) for name, _, _ in ways}
        for _ in range(REPEATS):
            for i, step in enumerate(steps):
                for name, action, runner in ways:
                    least[name][i] = min(least[name][i], cpu_us(action, runner, step))
        batched, alone, drawn = (float(least[name].mean()) for name, _, _ in ways)
        rows = REPLICAS * (decoding + prefill)
        print(
            f"{decoding:3d} decode {prefill:3d} new {rows:6d} {batched:7.0f} {batched / rows:7.1f} {alone:11.0f} "
            f"{alone / batched:6.1f} {drawn / REPLICAS:9.1f}"
        )


if __name__ == "__main__":
    main()
