"""What a collector's two processes say to each other: JSON, one array a line, over the worker's stdin and stdout.

To the worker: ``["frames", [[seq, signal, file's name, offset, size], ...]]`` for frames that are durable, and ``["stop"]``.
From it: ``["report", {...}]``. The end of either pipe is the end of the process behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from collectors.frames import Place

LINE_BYTES = 64 << 20
FRAMES_A_LINE = 10_000


@dataclass(frozen=True, slots=True)
class Report:
    """``seq``: last frame in the tables. ``doing``: what the worker does now. ``trying``: the last frame of the round that it
    decodes, 0 while it does not. The counts are those of this worker's life: rows appended by table, records rejected by
    signal, drops by reason."""

    seq: int
    doing: str
    trying: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)
    rejects: Mapping[str, int] = field(default_factory=dict)
    drops: Mapping[str, int] = field(default_factory=dict)


def frames_line(places: Iterable[Place]) -> bytes:
    """The line that tells of frames."""
    told = [[place.seq, place.signal, place.path.name, place.offset, place.size] for place in places]
    return json.dumps(["frames", told], separators=(",", ":")).encode() + b"\n"


STOP_LINE = b'["stop"]\n'


def read_command(line: bytes, folder: Path) -> list[Place] | None:
    """The places that a line to the worker tells of; None: stop. ``folder`` holds the journal's files."""
    said = json.loads(line)
    if said[0] == "stop":
        return None
    return [Place(seq, signal, folder / name, offset, size) for seq, signal, name, offset, size in said[1]]


def report_line(report: Report) -> bytes:
    """The line of a report."""
    return json.dumps(["report", asdict(report)], separators=(",", ":")).encode() + b"\n"


def read_report(line: bytes) -> Report:
    """What a line from the worker reports."""
    return Report(**json.loads(line)[1])
