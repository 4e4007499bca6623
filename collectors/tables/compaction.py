"""Joining small files: which ones are worth it, and the rewriting itself, sorted as the contract says.

A round of decoding leaves one small file a table. Files of like size are joined in sixteens, so that a row is rewritten at
most some three times and an hour that is being written has at most some fifty files. When an hour is over, what is left of
it is joined too. No file grows beyond ``most_rows``; an hour with more rows has several files, each sorted, of consecutive
times. Rows are sorted in slices of their first sorting column, which bounds the memory that it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import duckdb
import pyarrow as pa

from collectors.live_views import create_view
from collectors.merged_views import EDGES_SQL
from collectors.schema import TABLES
from collectors.tables.data_files import DataFile
from collectors.tables.delta_tables import DeltaTables
from collectors.tables.live_files import table_path

TOGETHER = 16
_SLICE_ROWS = {"samples": 1 << 18, "rollups": 1 << 18}
_SLICE_WIDE_ROWS = 1 << 15
_BATCH_ROWS = 1 << 14
_MOST_ROWS = {"samples": 1 << 21, "rollups": 1 << 21, "edges": 1 << 21, "series": 1 << 21}
_MOST_WIDE_ROWS = 1 << 19
_MOST_BYTES = 64 << 20
_ORDER = {"spans": ("start_ns // 1_000_000_000", "trace_hi", "trace_lo", "start_ns", "span_id"),
          "requests": ("arrival_ns", "trace_hi", "trace_lo", "span_id")}
"""The spans of one second lie by trace, which saves a twelfth of their bytes; what a reader prunes by spans seconds anyway."""
_SECOND_NS = 1_000_000_000
_NUMBERED = frozenset({"spans", "requests", "steps", "samples", "rollups", "events", "logs"})
"""Tables whose first sorting column is a number that is never NULL."""


def most_rows(name: str) -> int:
    """The rows of a table's largest files: fewer where rows are wide."""
    return _MOST_ROWS.get(name, _MOST_WIDE_ROWS)


def worth_joining(name: str, files: Iterable[DataFile], *, over: bool) -> list[DataFile]:
    """Files of one hour of a table to join into one now; none when it is not worth it. ``over``: the hour is."""
    small = sorted((file for file in files if _is_small(name, file)), key=lambda file: (file.rows, file.path))
    tiers: dict[int, list[DataFile]] = {}
    for file in small:
        tiers.setdefault((max(file.rows, 1).bit_length() + 1) // 4, []).append(file)
    for tier in sorted(tiers):
        if len(tiers[tier]) >= TOGETHER:
            return _that_fit(name, tiers[tier])
    while over and len(small) > 1:  # rewriting a large file for the sake of a few late rows is not worth it
        rows = sum(file.rows for file in small)
        if 4 * (rows - small[-1].rows) >= small[-1].rows:
            fitting = _that_fit(name, small)
            return fitting if len(fitting) > 1 else []
        small.pop()
    return []


def slice_rows(name: str) -> int:
    """About how many rows of a table are sorted at one time."""
    return _SLICE_ROWS.get(name, _SLICE_WIDE_ROWS)


def join(connection: duckdb.DuckDBPyConnection, tables: DeltaTables, name: str, files: Sequence[DataFile],
         at_once: int | None = None) -> DataFile:
    """Put one sorted file in the place of several of one hour, in one commit; returns it. Relations are added up.
    ``at_once``: rows to sort at one time, ``slice_rows`` when None."""
    folder = table_path(tables.store, name)
    create_view(connection, "files_to_join", name, [str(folder / file.path) for file in files])
    pieces = -(-sum(file.rows for file in files) // (at_once or slice_rows(name)))
    return tables.rewrite(name, files, _sorted(connection, name, pieces))


def _sorted(connection: duckdb.DuckDBPyConnection, name: str, pieces: int) -> Iterator[pa.RecordBatch]:
    """The rows of the view ``files_to_join`` in the table's order, a slice of them at a time."""
    rows = f"({EDGES_SQL.format(seen='files_to_join')})" if name == "edges" else "files_to_join"
    order = ", ".join(_ORDER.get(name, TABLES[name].sorted_by))
    names = ", ".join(f'"{column.name}"' for column in TABLES[name].columns)
    with connection.cursor() as cursor:
        for condition in _slices(cursor, name, pieces):
            yield from cursor.sql(f"SELECT {names} FROM {rows} {condition} ORDER BY {order}").to_arrow_reader(_BATCH_ROWS)


def _slices(cursor: duckdb.DuckDBPyConnection, name: str, pieces: int) -> list[str]:
    """Conditions that share the rows out, so that one slice after the other is the table's order."""
    column, unit = TABLES[name].sorted_by[0], _SECOND_NS if name == "spans" else 1
    if pieces < 2 or name not in _NUMBERED:
        return [""]
    shares = ", ".join(str(at / pieces) for at in range(1, pieces))
    found = cursor.execute(f"SELECT quantile_disc({column}, [{shares}]) FROM files_to_join").fetchall()[0][0]
    bounds = sorted({value // unit * unit for value in found})
    lows = ["", *(f"{column} >= {bound}" for bound in bounds)]
    highs = [*(f"{column} < {bound}" for bound in bounds), ""]
    return ["WHERE " + " AND ".join(filter(None, pair)) if any(pair) else "" for pair in zip(lows, highs, strict=True)]


def _is_small(name: str, file: DataFile) -> bool:
    return 2 * file.rows < most_rows(name) and 2 * file.size < _MOST_BYTES


def _that_fit(name: str, files: Sequence[DataFile]) -> list[DataFile]:
    """As many as one file takes, earliest first."""
    chosen: list[DataFile] = []
    rows = size = 0
    for file in sorted(files, key=lambda file: (file.first_ns or 0, file.path)):
        if chosen and (rows + file.rows > most_rows(name) or size + file.size > _MOST_BYTES):
            break
        chosen.append(file)
        rows, size = rows + file.rows, size + file.size
    return chosen
