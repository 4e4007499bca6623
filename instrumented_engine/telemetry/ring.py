"""The bounded buffer between the serving path and the encoder."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Record = TypeVar("Record")


class Ring(Generic[Record]):
    """First in, first out, at most ``capacity`` records.

    A record that finds the ring full is refused and counted in ``dropped``; what was taken is never overwritten. So a
    flush that comes late loses the newest records, in one piece, and the count of them travels as a metric.
    """

    __slots__ = ("_records", "capacity", "dropped")

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a ring holds at least one record, not {capacity}")
        self.capacity = capacity
        self.dropped = 0
        self._records: deque[Record] = deque()

    def __len__(self) -> int:
        return len(self._records)

    def push(self, record: Record) -> bool:
        """Take ``record``; False, and one more in ``dropped``, when there is no room."""
        records = self._records
        if len(records) >= self.capacity:
            self.dropped += 1
            return False
        records.append(record)
        return True

    def drain(self) -> list[Record]:
        """All records in the order they came; the ring is empty afterwards."""
        records = list(self._records)
        self._records.clear()
        return records
