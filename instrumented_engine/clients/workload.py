"""How recorded arrivals become requests of this engine: cut to the run, spread, scaled, clipped to the model's context.

A run's requests are kept as numbers in arrays and built one by one as they are due, so that a hundred thousand of them
take megabytes.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from collectors.errors import BadInput
from instrumented_engine.clients.traces import TRACE_BLOCK, Recorded, read_trace, shipped_workloads
from instrumented_engine.scenario import Workload

_SPREAD_S = 3.0
"""Mooncake's timestamps are quantised to 3 s; arrivals are spread evenly over the quantum."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request for the engine. Token counts are unscaled; ``engine_*`` are what the runner computes.

    ``blocks`` are the keys of the prompt's whole KV blocks; equal keys mean an equal prefix.
    """

    at_ns: int
    session: str
    prompt_tokens: int
    output_tokens: int
    engine_prompt: int
    engine_output: int
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What a run replays, in order, and how many prompts or outputs had to be clipped to the model's context."""

    requests: Sequence[Arrival]
    clipped: int


def prepare(workload: Workload, *, block_tokens: int, context: int, duration_s: float, seed: int) -> Arrivals:
    """The arrivals of one run: read, cut to the run's duration, spread, scaled, clipped to ``context`` engine tokens."""
    path = shipped_workloads().get(workload.file) or Path(workload.file)
    span = block_tokens / workload.prompt_scale
    if (TRACE_BLOCK % span and span % TRACE_BLOCK) or span != int(span):
        raise BadInput(
            f"workload.prompt_scale = {workload.prompt_scale} with replica.block_tokens = {block_tokens} makes blocks of "
            f"{span:g} trace tokens, which neither divide nor are a multiple of {TRACE_BLOCK}"
        )
    rng = random.Random(f"{seed}:workload")
    found = _Replay(workload, int(span), block_tokens, context)
    mooncake = False
    for number, row in enumerate(read_trace(path)):
        mooncake = mooncake or bool(row.hash_ids)
        at_s = (row.at_s + (rng.random() * _SPREAD_S if mooncake else 0.0) - workload.offset_s) / workload.compress
        if not 0 <= at_s < duration_s or (at_s < workload.ramp_s and rng.random() >= at_s / workload.ramp_s):
            continue
        try:
            found.append(row, number, round(at_s * 1e9))
        except OverflowError as error:
            raise BadInput(f"{path}: request {number + 1}: a number has more than 64 bits") from error
    if not len(found):
        raise BadInput(f"{path}: no request falls into the run; check workload.offset_s and duration_s")
    found.sort()
    return Arrivals(found, found.clipped)


class _Replay(Sequence[Arrival]):
    """The requests of one run, by time after ``sort``; ``clipped`` counts those that the model's context cut short."""

    def __init__(self, workload: Workload, span: int, block_tokens: int, context: int) -> None:
        self.clipped = 0
        self._scaling = (workload, span, block_tokens, context)
        self._rows = array("q")
        self._ids = array("q")
        self._order = np.zeros(0, np.int64)

    def append(self, row: Recorded, number: int, at_ns: int) -> None:
        """One more: ``row`` is the file's ``number``-th."""
        self._rows.extend((at_ns, number, row.prompt_tokens, row.output_tokens, len(self._ids), len(row.hash_ids)))
        self._ids.extend(row.hash_ids)
        self.clipped += any(_fitted(row.prompt_tokens, row.output_tokens, *self._scaling)[2:])

    def sort(self) -> None:
        """By time; at the same time in the file's order."""
        self._order = np.argsort(np.frombuffer(self._rows, np.int64)[::6], kind="stable")

    def __len__(self) -> int:
        return len(self._rows) // 6

    @overload
    def __getitem__(self, index: int) -> Arrival: ...
    @overload
    def __getitem__(self, index: slice) -> list[Arrival]: ...
    def __getitem__(self, index: int | slice) -> Arrival | list[Arrival]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        at = 6 * int(self._order[index])
        at_ns, number, prompt, output, first, count = self._rows[at : at + 6]
        row = Recorded(at_ns / 1e9, prompt, output, tuple(self._ids[first : first + count]))
        return _scaled(row, number, at_ns, *self._scaling)


def _fitted(
    prompt_tokens: int, output_tokens: int, workload: Workload, span: int, block_tokens: int, context: int
) -> tuple[int, int, bool, bool]:
    """Engine tokens of prompt and output that the context holds, and whether it cuts the one and the other."""
    output = max(1, round(output_tokens * workload.output_scale))
    kept_output = min(output, context // 2)
    room = (context - kept_output) // block_tokens * block_tokens
    whole, rest = divmod(prompt_tokens, span)
    prompt = whole * block_tokens + math.ceil(rest * workload.prompt_scale)
    return min(prompt, room), kept_output, prompt > room, kept_output < output


def _scaled(
    row: Recorded, number: int, at_ns: int, workload: Workload, span: int, block_tokens: int, context: int
) -> Arrival:
    prompt, output, _, output_cut = _fitted(row.prompt_tokens, row.output_tokens, workload, span, block_tokens, context)
    ids = row.hash_ids
    keys = _block_keys(ids, number, min(row.prompt_tokens // span, prompt // block_tokens), span)
    session = f"s{ids[1]}" if len(ids) > 1 else f"n{number}"
    return Arrival(
        at_ns=at_ns,
        session=session,
        prompt_tokens=min(row.prompt_tokens, round(prompt / workload.prompt_scale)),
        output_tokens=round(output / workload.output_scale) if output_cut else row.output_tokens,
        engine_prompt=prompt,
        engine_output=output,
        blocks=keys,
    )


def _block_keys(ids: tuple[int, ...], number: int, count: int, span: int) -> tuple[int, ...]:
    """Keys of the prompt's first ``count`` whole engine blocks of ``span`` trace tokens each.

    A trace id names its whole prefix, so an engine block that ends with trace block j is named by id j (and by its place
    inside j when it is shorter). A request without ids shares nothing: its keys are its own.
    """
    if not ids:
        return tuple(-(number * 4096 + i) - 1 for i in range(count))
    if span >= TRACE_BLOCK:
        every = span // TRACE_BLOCK
        return tuple(ids[(i + 1) * every - 1] * 64 for i in range(count))
    per = TRACE_BLOCK // span
    return tuple(ids[i // per] * 64 + i % per + 1 for i in range(count))
