"""Recorded arrivals: readers of public traces, and how they become requests of this engine.

Formats are told apart by their content: Mooncake's JSON lines (timestamp in ms, lengths, prefix block ids of 512
tokens; Qin et al., FAST'25) and Azure's CSV (time, context tokens, generated tokens; Patel et al., ISCA'24). ``.zst`` is
decompressed. A block id of Mooncake names the whole prefix up to and including its block, so equal ids mean reusable KV.
"""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

import zstandard

from collectors.errors import BadInput
from instrumented_engine.scenario import Workload

TRACE_BLOCK = 512
"""Tokens per block id in a Mooncake trace."""
_SPREAD_S = 3.0
"""Mooncake's timestamps are quantised to 3 s; arrivals are spread evenly over the quantum."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request of a trace, as recorded: seconds since the trace began, tokens, prefix block ids."""

    at_s: float
    prompt_tokens: int
    output_tokens: int
    hash_ids: tuple[int, ...]


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

    requests: list[Arrival]
    clipped: int


def shipped_workloads() -> dict[str, Path]:
    """The excerpts that come with Flashover, by name."""
    folder = Path(str(resources.files("incidents"))) / "workloads"
    return {path.name.split(".")[0]: path for path in sorted(folder.glob("*.zst"))}


def read_trace(path: Path) -> Iterator[Recorded]:
    """The requests of a trace file, in file order. Raises BadInput naming file and line."""
    try:
        raw = path.read_bytes()
        if path.suffix == ".zst":
            with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(raw)) as stream:
                raw = stream.read()
        text = raw.decode("utf-8")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); give a Mooncake .jsonl or an Azure .csv") from error
    except (zstandard.ZstdError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not a readable trace: {error}") from error
    yield from (_read_azure if text.startswith("TIMESTAMP,") else _read_mooncake)(path, text)


def _read_mooncake(path: Path, text: str) -> Iterator[Recorded]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            ids = tuple(int(i) for i in row["hash_ids"])
            recorded = Recorded(row["timestamp"] / 1e3, int(row["input_length"]), int(row["output_length"]), ids)
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path}:{number}: not a Mooncake request ({error!r}): {line[:80]!r}") from error
        if recorded.prompt_tokens < 1 or recorded.output_tokens < 0 or recorded.at_s < 0:
            raise BadInput(f"{path}:{number}: negative time or length, or an empty prompt: {line[:80]!r}")
        if len(ids) * TRACE_BLOCK < recorded.prompt_tokens // TRACE_BLOCK * TRACE_BLOCK:
            raise BadInput(f"{path}:{number}: {len(ids)} hash_ids do not cover {recorded.prompt_tokens} tokens")
        yield recorded


def _read_azure(path: Path, text: str) -> Iterator[Recorded]:
    first: datetime | None = None
    for number, row in enumerate(csv.reader(io.StringIO(text)), start=1):
        if number == 1:
            continue
        try:
            moment = datetime.fromisoformat(row[0][:26])
            prompt, output = int(row[1]), int(row[2])
        except (ValueError, IndexError) as error:
            raise BadInput(f"{path}:{number}: not an Azure request ({error}): {','.join(row)[:80]!r}") from error
        first = first or moment
        yield Recorded((moment - first).total_seconds(), max(1, prompt), output, ())


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
    requests: list[Arrival] = []
    clipped = 0
    mooncake = False
    for number, row in enumerate(read_trace(path)):
        mooncake = mooncake or bool(row.hash_ids)
        at_s = (row.at_s + (rng.random() * _SPREAD_S if mooncake else 0.0) - workload.offset_s) / workload.compress
        if not 0 <= at_s < duration_s or (at_s < workload.ramp_s and rng.random() >= at_s / workload.ramp_s):
            continue
        arrival, was_clipped = _scale(row, number, round(at_s * 1e9), workload, int(span), block_tokens, context)
        requests.append(arrival)
        clipped += was_clipped
    if not requests:
        raise BadInput(f"{path}: no request falls into the run; check workload.offset_s and duration_s")
    requests.sort(key=lambda arrival: arrival.at_ns)
    return Arrivals(requests, clipped)


def _scale(
    row: Recorded, number: int, at_ns: int, workload: Workload, span: int, block_tokens: int, context: int
) -> tuple[Arrival, bool]:
    output = max(1, round(row.output_tokens * workload.output_scale))
    kept_output = min(output, context // 2)
    room = (context - kept_output) // block_tokens * block_tokens
    whole, rest = divmod(row.prompt_tokens, span)
    prompt = whole * block_tokens + math.ceil(rest * workload.prompt_scale)
    kept_prompt = min(prompt, room)
    clipped = kept_prompt < prompt or kept_output < output
    keys = _block_keys(row.hash_ids, number, min(whole, kept_prompt // block_tokens), span)
    ids = row.hash_ids
    session = f"s{ids[1]}" if len(ids) > 1 else f"n{number}"
    arrival = Arrival(
        at_ns=at_ns,
        session=session,
        prompt_tokens=min(row.prompt_tokens, round(kept_prompt / workload.prompt_scale)),
        output_tokens=row.output_tokens if kept_output == output else round(kept_output / workload.output_scale),
        engine_prompt=kept_prompt,
        engine_output=kept_output,
        blocks=keys,
    )
    return arrival, clipped


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
