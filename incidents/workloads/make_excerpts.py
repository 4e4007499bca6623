"""Makes the shipped excerpts from the full traces: ``python -m incidents.workloads.make_excerpts FOLDER``.

FOLDER holds ``mooncake_fast25/`` and ``azure_llm_2023/`` with the upstream files, zstd-compressed. An excerpt is the
first minutes of a trace, line for line and byte for byte; NOTICE.txt says which and from where.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import zstandard

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One shipped file: its name here, its source below FOLDER, the source's SHA-256 (decompressed), and the cut."""

    name: str
    source: str
    sha256: str
    cut: Callable[[list[bytes]], list[bytes]]


def first_47_minutes(lines: list[bytes]) -> list[bytes]:
    """Mooncake's requests with ``timestamp`` below 2,820,000 ms: all sessions at the full rate, without the tail."""
    return [line for line in lines if json.loads(line)["timestamp"] < 2_820_000]


def first_15_minutes(lines: list[bytes]) -> list[bytes]:
    """Azure's header and the requests less than 15 minutes after the first one."""
    header, *rows = lines
    end = _moment(rows[0]) + timedelta(minutes=15)
    return [header, *(row for row in rows if _moment(row) < end)]


EXCERPTS = (
    Excerpt(
        "mooncake_conversation.jsonl.zst",
        "mooncake_fast25/conversation_trace.jsonl.zst",
        "b8cbb061a85206d729d91cdc2981f43c9e0d99209dce588d3af5f7934408b9df",
        first_47_minutes,
    ),
    Excerpt(
        "azure_conv_2023.csv.zst",
        "azure_llm_2023/AzureLLMInferenceTrace_conv.csv.zst",
        "2f1e5b666d4e3055fdbba98598ce2ec307767b9064e03e2fa46676dbcc7d0bf8",
        first_15_minutes,
    ),
)


def excerpt(which: Excerpt, folder: Path) -> bytes:
    """The excerpt's bytes, decompressed. Raises ValueError when the source is not the file that NOTICE.txt names."""
    whole = decompressed(folder / which.source)
    found = hashlib.sha256(whole).hexdigest()
    if found != which.sha256:
        raise ValueError(f"{folder / which.source}: SHA-256 is {found}, expected {which.sha256}")
    return b"".join(which.cut(whole.splitlines(keepends=True)))


def decompressed(path: Path) -> bytes:
    """The content of a ``.zst`` file."""
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(path.read_bytes())) as stream:
        return stream.read()


def _moment(row: bytes) -> datetime:
    return datetime.fromisoformat(row.split(b",", 1)[0][:26].decode())


if __name__ == "__main__":
    for made in EXCERPTS:
        content = excerpt(made, Path(sys.argv[1]))
        (HERE / made.name).write_bytes(zstandard.ZstdCompressor(level=19).compress(content))
        print(f"{made.name}: {len(content.splitlines())} lines")
