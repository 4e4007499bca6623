"""What could not be decoded: the reason is kept, with the record's bytes but for prompt text, and counted, never dropped."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from google.protobuf.message import Message

from collectors.decode.limits import Drops, Limits
from collectors.decode.prompt_text import strip
from collectors.schema import REJECTS
from collectors.sink import Signal


class Rejects:
    """Rows of the ``rejects`` table for one round."""

    def __init__(self, limits: Limits, drops: Drops) -> None:
        self._limits = limits
        self._drops = drops
        self._rows: list[tuple[int, str, str, bytes | None]] = []

    def add(self, frame: int, signal: Signal, reason: object, record: Message) -> None:
        """Keep one record of a body. It is changed: prompt text in it goes."""
        strip(record, self._limits, self._drops)
        self._rows.append((frame, signal, str(reason), record.SerializeToString()))

    def add_body(self, frame: int, signal: Signal, reason: object, body: bytes) -> None:
        """Keep a body that cannot be parsed. What text it holds cannot be found, so its bytes go unless text is kept."""
        if self._limits.keep_text:
            self._rows.append((frame, signal, str(reason), body))
        else:
            self._drops["prompt_text"] += 1
            self._rows.append((frame, signal, f"{reason} ({len(body)} bytes, not kept: they may hold text)", None))

    def add_row(self, frame: int, signal: Signal, reason: str, row: dict[str, Any]) -> None:
        """Keep one row that was decoded, as JSON: prompt text in it is gone already."""
        self._rows.append((frame, signal, reason, json.dumps(row, default=repr).encode()))

    def table(self) -> pa.Table:
        """The rows as Arrow, schema REJECTS, in the order of the frames."""
        columns = list(zip(*sorted(self._rows, key=lambda row: row[0]), strict=True)) or [()] * 4
        return pa.table([pa.array(c, t) for c, t in zip(columns, REJECTS.arrow.types, strict=True)], REJECTS.arrow)
