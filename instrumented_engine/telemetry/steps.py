"""Engine steps as columns: appended in the hot path, carried as one Arrow IPC stream per flush.

A step is one tuple and two list extensions; nothing is encoded before the flush. The stream's columns are those of
``schema.STEPS`` without ``frame``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collectors import schema

STEP_SCHEMA = pa.schema([field for field in schema.STEPS.arrow if field.name != "frame"])
"""The Arrow schema of a step body."""

_SCALARS = [field for field in STEP_SCHEMA if not pa.types.is_list(field.type)]
_BATCH: pa.ListType[Any] = STEP_SCHEMA.field("batch").type
_LOAD: pa.DataType = STEP_SCHEMA.field("expert_load").type
_ROW_BYTES = 8 * len(_SCALARS)


class StepColumns:
    """Steps waiting for the next flush, at most ``capacity`` of them; more are refused (see ``append``)."""

    __slots__ = ("_ends", "_ids", "_loads", "_rows", "_tokens", "capacity")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._clear()

    def _clear(self) -> None:
        self._rows: list[tuple[Any, ...]] = []
        self._ends: list[int] = [0]
        self._ids: list[int] = []
        self._tokens: list[int] = []
        self._loads: list[NDArray[np.int32] | None] = []

    def __len__(self) -> int:
        return len(self._rows)

    def append(
        self,
        row: tuple[Any, ...],
        ids: Sequence[int],
        tokens: Sequence[int],
        expert_load: NDArray[np.int32] | None,
    ) -> bool:
        """Add one step; False when there is no room.

        ``row``: the scalar columns of ``STEP_SCHEMA`` in its order. ``ids`` (engine span ids, unsigned) and ``tokens``
        (scaled tokens computed) are parallel (ValueError). ``expert_load``: int32 [layers * experts], kept by
        reference: do not write to it afterwards.
        """
        if len(ids) != len(tokens):
            raise ValueError(f"a batch of {len(ids)} requests cannot have {len(tokens)} token counts")
        if len(self._rows) >= self.capacity:
            return False
        self._rows.append(row)
        self._ids.extend(ids)
        self._tokens.extend(tokens)
        self._ends.append(len(self._ids))
        self._loads.append(expert_load)
        return True

    def drain(self, body_bytes: int) -> list[bytes]:
        """Arrow IPC streams of all waiting steps in order, each of about ``body_bytes`` at most (one step at least)."""
        streams = [self._stream(first, last) for first, last in self._cuts(body_bytes)]
        self._clear()
        return streams

    def _cuts(self, body_bytes: int) -> Iterator[tuple[int, int]]:
        first, size = 0, 0
        for at, load in enumerate(self._loads):
            row = _ROW_BYTES + 12 * (self._ends[at + 1] - self._ends[at]) + (0 if load is None else load.nbytes)
            if size and size + row > body_bytes:
                yield first, at
                first, size = at, 0
            size += row
        if size:
            yield first, len(self._loads)

    def _stream(self, first: int, last: int) -> bytes:
        columns = zip(*self._rows[first:last], strict=True)
        arrays: list[pa.Array[Any]] = [
            pa.array(list(column), field.type) for column, field in zip(columns, _SCALARS, strict=True)
        ]
        arrays += [self._batch(first, last), self._load(first, last)]
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_stream(buffer, STEP_SCHEMA) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=STEP_SCHEMA))
        body: bytes = buffer.getvalue().to_pybytes()
        return body

    def _batch(self, first: int, last: int) -> pa.Array[Any]:
        low, high = self._ends[first], self._ends[last]
        offsets = pa.array(np.asarray(self._ends[first : last + 1]) - low, pa.int32())
        ids = np.asarray(self._ids[low:high], np.uint64).view(np.int64)
        tokens = np.asarray(self._tokens[low:high], np.int32)
        members = pa.StructArray.from_arrays([pa.array(ids), pa.array(tokens)], fields=list(_BATCH.value_type))
        return pa.ListArray.from_arrays(offsets, members, type=_BATCH)

    def _load(self, first: int, last: int) -> pa.Array[Any]:
        loads = self._loads[first:last]
        known = [load for load in loads if load is not None]
        values = np.concatenate([np.empty(0, np.int32), *known], dtype=np.int32, casting="safe")
        sizes = [0 if load is None else len(load) for load in loads]
        offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
        missing = None if len(known) == len(loads) else pa.array([load is None for load in loads], pa.bool_())
        return pa.ListArray.from_arrays(offsets, pa.array(values), type=_LOAD, mask=missing)
