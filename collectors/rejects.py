"""What could not be decoded: kept with its bytes and the reason, and counted, never dropped."""

from __future__ import annotations

import pyarrow as pa

from collectors.schema import REJECTS
from collectors.sink import Signal


class Rejects:
    """Rows of the ``rejects`` table for one round."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, str, str, bytes]] = []

    def add(self, frame: int, signal: Signal, reason: object, body: bytes) -> None:
        """Keep one body, or the bytes of one record of it."""
        self._rows.append((frame, signal, str(reason), body))

    def table(self) -> pa.Table:
        """The rows as Arrow, schema REJECTS."""
        columns = list(zip(*self._rows, strict=True)) or [()] * 4
        return pa.table([pa.array(c, t) for c, t in zip(columns, REJECTS.arrow.types, strict=True)], REJECTS.arrow)
