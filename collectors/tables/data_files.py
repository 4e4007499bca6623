"""Data files: written once, synced, and named by what they hold, before any commit speaks of them.

A name is ``<columns>-<crc32>-<uuid>.parquet``: the fingerprint of the column names, then the checksum of the bytes, both as
eight hex digits. So the log that lists a file also says, in the same durable entry, what its bytes must be, and a reader
knows without opening it whether a file lacks columns that the contract got later. Files of older stores have other names.
"""

from __future__ import annotations

import json
import os
import re
import uuid
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collectors.durable import sync_path
from collectors.schema import TABLES
from collectors.tables.hours import HOUR, TIME_COLUMNS
from collectors.tables.parquet_settings import ROW_GROUP_ROWS, writer_settings

_WRITE_BYTES = 1 << 18
_NAME = re.compile(r"(?P<columns>[0-9a-f]{8})-(?P<crc>[0-9a-f]{8})-[0-9a-f]{32}\.parquet")
_HOUR = re.compile(rf"(?:^|/){HOUR}=([^/]+)/")


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a table. ``path``: in the table's folder. ``size``: bytes. ``hour``: "" in a table that has no hours.
    ``first_ns``, ``last_ns``: least and greatest of the table's time column; None when that is not known."""

    path: str
    size: int
    rows: int
    hour: str = ""
    first_ns: int | None = None
    last_ns: int | None = None

    def statistics(self, name: str) -> str:
        """What Delta's log says of the file: its rows, and the bounds of the time column."""
        column = TIME_COLUMNS.get(name)
        bounds = {} if column is None or self.first_ns is None else {
            "minValues": {column: self.first_ns}, "maxValues": {column: self.last_ns}}
        return json.dumps({"numRecords": self.rows, **bounds})


@cache
def columns_mark(name: str) -> str:
    """The fingerprint of the columns that the contract gives table ``name``."""
    return f"{zlib.crc32(' '.join(TABLES[name].arrow.names).encode()):08x}"


def mark_of(path: str) -> str | None:
    """The fingerprint of the columns of a file, by its name; None for a file of an older store."""
    found = _NAME.fullmatch(Path(path).name)
    return found["columns"] if found else None


def checksum_of(path: str) -> int | None:
    """The crc32 that a file's bytes must have, by its name; None for a file of an older store."""
    found = _NAME.fullmatch(Path(path).name)
    return int(found["crc"], 16) if found else None


def hour_of(path: str) -> str:
    """The hour that a file's folder names; "" for one of a table without hours."""
    found = _HOUR.search(path)
    return found[1] if found else ""


def write_data_file(table: Path, name: str, hour: str, batches: Iterable[pa.RecordBatch]) -> DataFile:
    """Write rows of table ``name``, all of one ``hour``, as one durable file in the folder ``table``.

    At most a row group is held at a time. An OSError leaves nothing but, after a crash, a ``.part`` file.
    """
    folder = table / f"{HOUR}={hour}" if hour else table
    new = not folder.is_dir()
    folder.mkdir(exist_ok=True)
    part = folder / f".{uuid.uuid4().hex}.part"
    try:
        with part.open("wb", buffering=0) as raw:
            sink = _Summed(raw.fileno())
            rows, first, last = _write(sink, name, batches)
            sink.flush()
            os.fsync(raw.fileno())
        final = folder / f"{columns_mark(name)}-{sink.crc:08x}-{uuid.uuid4().hex}.parquet"
        part.rename(final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_path(folder)
    if new:
        sync_path(table)
    return DataFile(str(final.relative_to(table)), sink.size, rows, hour, first, last)


def _write(sink: _Summed, name: str, batches: Iterable[pa.RecordBatch]) -> tuple[int, int | None, int | None]:
    schema, column = TABLES[name].arrow, TIME_COLUMNS.get(name)
    writer: pq.ParquetWriter | None = None
    rows, first, last = 0, None, None
    for group in _groups(batches, schema):
        if writer is None:
            writer = pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, **writer_settings(group))
        writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
        rows += group.num_rows
        if column is not None and group.num_rows:
            bounds = pc.min_max(group.column(column)).as_py()
            first = bounds["min"] if first is None else min(first, bounds["min"])
            last = bounds["max"] if last is None else max(last, bounds["max"])
    assert writer is not None
    writer.close()
    return rows, first, last


def _groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterable[pa.Table]:
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        if count >= ROW_GROUP_ROWS:
            yield pa.Table.from_batches(held).cast(schema)
            held, count = [], 0
    if held:
        yield pa.Table.from_batches(held).cast(schema)


class _Summed:
    """What pyarrow writes a file through, in many small pieces: gathers them, counts their bytes and sums them up."""

    closed = False

    def __init__(self, descriptor: int) -> None:
        self.crc = 0
        self.size = 0
        self._descriptor = descriptor
        self._held = bytearray()

    def write(self, data: pa.Buffer | bytes) -> int:
        view = memoryview(data).cast("B")
        self._held += view
        self.size += len(view)
        if len(self._held) >= _WRITE_BYTES:
            self.flush()
        return len(view)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Give what was gathered to the file."""
        self.crc = zlib.crc32(self._held, self.crc)
        left = memoryview(bytes(self._held))
        while left:
            left = left[os.write(self._descriptor, left):]
        self._held.clear()

    def close(self) -> None:
        """The file is closed by whoever opened it."""
