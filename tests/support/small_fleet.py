"""A small fleet for tests: a made trace, a runner that computes nothing, and an observer that remembers everything."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from instrumented_engine.clients.workload import prepare
from instrumented_engine.cluster import Cluster
from instrumented_engine.model.runner import Chunk, ModelShape, StepOutput
from instrumented_engine.replica.engine import Engine
from instrumented_engine.replica.sequence import Sequence as EngineSequence
from instrumented_engine.replica.step_record import StepRecord
from instrumented_engine.routing.door import AttemptRecord
from instrumented_engine.scenario import Scenario


class NullRunner:
    """Every token is 7 and goes to expert 0."""

    shape = ModelShape(layers=2, experts=4, top_k=2, context=2048, vocabulary=64)
    reads_tokens = True

    def submit(self, replica: int, chunks: Sequence[Chunk]) -> StepOutput:
        for chunk in chunks:
            assert len(chunk.tokens) >= 1
            assert len(chunk.block_table) * 8 >= chunk.start + len(chunk.tokens)
        load = np.zeros(8, np.int32)
        load[0] = load[4] = 2 * sum(len(chunk.tokens) for chunk in chunks)
        return StepOutput([7 if chunk.sample else -1 for chunk in chunks], load)

    def settle(self) -> None:
        """Nothing waits."""

    def read(self, tokens: Sequence[int]) -> list[int]:
        return list(tokens)


class Memory:
    """Remembers what the cluster tells."""

    def __init__(self) -> None:
        self.attempts: list[AttemptRecord] = []
        self.done: list[EngineSequence] = []
        self.steps: list[tuple[int, StepRecord]] = []
        self.actions: list[tuple[str, str, str, int]] = []
        self.ticks = 0

    def on_start(self, cluster: Cluster) -> None:
        """Nothing to prepare."""

    def on_attempt(self, record: AttemptRecord) -> None:
        self.attempts.append(record)

    def on_sequence_done(self, engine: Engine, sequence: EngineSequence) -> None:
        self.done.append(sequence)

    def on_step(self, engine: Engine, record: StepRecord) -> None:
        self.steps.append((engine.number, record))

    def on_action(self, kind: str, entity: str, summary: str, at_ns: int) -> None:
        self.actions.append((kind, entity, summary, at_ns))

    def on_tick(self, cluster: Cluster) -> None:
        self.ticks += 1
        for engine in cluster.engines:
            engine.pool.check()


def made_trace(path: Path, *, requests: int, seconds: float, seed: int = 5, prompt: int = 6_000) -> Path:
    """Write a Mooncake-format trace of short conversations with heavy-tailed prompts."""
    rng = random.Random(seed)
    rows, next_id, sessions = [], 1, [[0]]
    for at_ms in sorted(rng.randrange(int(seconds * 1e3)) for _ in range(requests)):
        length = min(60_000, max(600, int(rng.expovariate(1 / prompt))))
        history = rng.choice(sessions) if rng.random() < 0.6 else [0]
        ids = history[: length // 512]
        while len(ids) * 512 < length:
            ids = [*ids, next_id]
            next_id += 1
        sessions = [*sessions[-40:], ids[: length // 512]]
        rows.append({"timestamp": at_ms, "input_length": length, "output_length": rng.randrange(20, 400), "hash_ids": ids})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def scenario(trace: Path, **changes: Any) -> Scenario:
    """A two-replica fleet for a minute; ``changes`` are merged into it, table by table."""
    data: dict[str, Any] = {
        "title": "small", "duration_s": 60, "workload": {"file": str(trace), "prompt_scale": 1 / 64},
        "cluster": {"replicas": 2}, "replica": {"block_tokens": 8, "kv_blocks": 4096},
    }
    for key, value in changes.items():
        data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
    return Scenario.model_validate(data)


def play(scene: Scenario, runner: Any = None) -> tuple[Cluster, Memory]:
    """Run ``scene`` to its end; returns the cluster as it was left, and the memory."""
    arrivals = prepare(
        scene.workload, block_tokens=scene.replica.block_tokens, context=2048,
        duration_s=scene.warm_up_s + scene.duration_s, seed=scene.seed,
    )
    memory = Memory()
    cluster = Cluster(scene, arrivals, runner or NullRunner(), memory, lambda key, count, vocabulary: [key % 64] * count)
    cluster.run()
    return cluster, memory


def scenario_file(folder: Path, *, requests: int, trace_s: float, duration_s: int) -> Path:
    """A scenario of two replicas in ``folder``, with a made trace."""
    trace = made_trace(folder / "trace.jsonl", requests=requests, seconds=trace_s)
    path = folder / "scenario.toml"
    path.write_text(f"""
title = "small"
duration_s = {duration_s}
scrape_s = 1
[workload]
file = "{trace}"
prompt_scale = 0.015625
[cluster]
replicas = 2
[replica]
block_tokens = 8
kv_blocks = 2048
""")
    return path
