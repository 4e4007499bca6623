"""Readers of public traces of requests, a line at a time.

Formats are told apart by their content: Mooncake's JSON lines (timestamp in ms, lengths, prefix block ids of 512
tokens; Qin et al., FAST'25) and Azure's CSV (time, context tokens, generated tokens; Patel et al., ISCA'24). ``.zst`` is
decompressed. A block id of Mooncake names the whole prefix up to and including its block, so equal ids mean reusable KV.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import TextIO

import zstandard

from collectors.errors import BadInput

TRACE_BLOCK = 512
"""Tokens per block id in a Mooncake trace."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request of a trace, as recorded: seconds since the trace began, tokens, prefix block ids."""

    at_s: float
    prompt_tokens: int
    output_tokens: int
    hash_ids: tuple[int, ...]


def shipped_workloads() -> dict[str, Path]:
    """The excerpts that come with Flashover, by name."""
    folder = Path(str(resources.files("incidents"))) / "workloads"
    return {path.name.split(".")[0]: path for path in sorted(folder.glob("*.zst"))}


def read_trace(path: Path) -> Iterator[Recorded]:
    """The requests of a trace file, in file order. Raises BadInput naming file and line."""
    try:
        with _text(path) as text:
            first = text.readline()
            lines = itertools.chain([first], text)
            yield from (_read_azure if first.startswith("TIMESTAMP,") else _read_mooncake)(path, lines)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); give a Mooncake .jsonl or an Azure .csv") from error
    except (zstandard.ZstdError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: not a readable trace: {error}") from error


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    with path.open("rb") as raw:
        if path.suffix != ".zst":
            yield io.TextIOWrapper(raw, "utf-8")
            return
        with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream:
            yield io.TextIOWrapper(stream, "utf-8")


def _read_mooncake(path: Path, lines: Iterable[str]) -> Iterator[Recorded]:
    for number, line in enumerate(lines, start=1):
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


def _read_azure(path: Path, lines: Iterable[str]) -> Iterator[Recorded]:
    first: datetime | None = None
    for number, row in enumerate(csv.reader(lines), start=1):
        if number == 1:
            continue
        try:
            moment = datetime.fromisoformat(row[0][:26])
            prompt, output = int(row[1]), int(row[2])
        except (ValueError, IndexError) as error:
            raise BadInput(f"{path}:{number}: not an Azure request ({error}): {','.join(row)[:80]!r}") from error
        first = first or moment
        yield Recorded((moment - first).total_seconds(), max(1, prompt), output, ())
