"""The body of a ``flashover.step`` log record (one Arrow IPC stream) -> rows of ``steps``."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from collectors.decode.attributes import Undecodable
from collectors.schema import STEPS

_WITHOUT_FRAME = pa.schema(list(STEPS.arrow)[:-1])


class StepRows:
    """Collects a round's step batches. ``ignored``: columns that the contract does not know -> batches with them."""

    def __init__(self, ignored: dict[str, int]) -> None:
        self.ignored = ignored
        self._batches: list[pa.RecordBatch] = []
        self._frames: list[int] = []

    def add(self, frame: int, body: bytes, entity: str | None) -> None:
        """Take one body; columns it lacks are NULL, ``replica`` is then the emitting entity. Raises Undecodable."""
        try:
            with pa.ipc.open_stream(body) as stream:
                fitted = [self._fit(batch, entity) for batch in stream if batch.num_rows]
        except Undecodable:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names that are no UTF-8
            raise Undecodable(f"step body is no Arrow IPC stream: {error}") from error
        self._batches += fitted
        self._frames += [frame] * len(fitted)

    def table(self) -> pa.Table:
        """The rows as Arrow, schema STEPS, sorted by start, replica and step."""
        frames = [pa.array([frame] * batch.num_rows, pa.int64())
                  for frame, batch in zip(self._frames, self._batches, strict=True)]
        table = pa.Table.from_batches(self._batches, _WITHOUT_FRAME)
        table = table.append_column(STEPS.arrow.field("frame"), pa.chunked_array(frames, pa.int64())).combine_chunks()
        keys = [("start_ns", "ascending"), ("replica", "ascending"), ("step_id", "ascending")]
        return table.take(pc.sort_indices(table, sort_keys=keys))

    def _fit(self, batch: pa.RecordBatch, entity: str | None) -> pa.RecordBatch:
        try:
            batch.validate(full=True)
        except pa.ArrowException as error:
            raise Undecodable(f"step body: {error}") from error
        if not batch.schema.equals(_WITHOUT_FRAME):
            batch = self._cast(batch, entity)
        start = batch.column("start_ns")
        if start.null_count or pc.min(start).as_py() < 0:
            raise Undecodable("step body: start_ns is missing or negative in some row")
        return batch

    def _cast(self, batch: pa.RecordBatch, entity: str | None) -> pa.RecordBatch:
        for name in batch.schema.names:
            if name not in _WITHOUT_FRAME.names:
                self.ignored[name] = self.ignored.get(name, 0) + 1
        columns = []
        for field in _WITHOUT_FRAME:
            found = batch.schema.get_all_field_indices(field.name)
            if found:
                try:
                    columns.append(batch.column(found[0]).cast(field.type))
                except (pa.ArrowException, NotImplementedError) as error:
                    raise Undecodable(f"step body: column {field.name}: {error}") from error
            elif field.name == "replica":
                columns.append(pa.array([entity] * batch.num_rows, field.type))
            else:
                columns.append(pa.nulls(batch.num_rows, field.type))
        return pa.RecordBatch.from_arrays(columns, schema=_WITHOUT_FRAME)
