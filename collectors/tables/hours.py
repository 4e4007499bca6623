"""Hours: the partitions of the tables, written like ``2026-03-29T13`` (UTC)."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

HOUR_NS = 3_600_000_000_000
HOUR = "hour"
AHEAD_NS = 600_000_000_000
"""Telemetry may be so far ahead of the machine's clock; a time beyond it does not say that hours are over."""

TIME_COLUMNS = {"spans": "start_ns", "requests": "arrival_ns", "steps": "start_ns", "samples": "ts_ns",
                "events": "ts_ns", "logs": "ts_ns", "rollups": "minute_ns"}
"""The partitioned tables, and the column whose hour a row belongs to. The other tables are small, and whole."""


def hour_name(number: int) -> str:
    """The name of an hour by its number since the epoch."""
    return datetime.fromtimestamp(number * 3600, UTC).strftime("%Y-%m-%dT%H")


def hour_number(name: str) -> int:
    """The number since the epoch of an hour by its name."""
    return int(datetime.strptime(name, "%Y-%m-%dT%H").replace(tzinfo=UTC).timestamp()) // 3600


def latest_of(times: pa.ChunkedArray, at_most: int, so_far: int) -> int:
    """The latest of ``so_far`` and those times that are at most ``at_most``; NULLs are none."""
    found = pc.max(times.filter(pc.less_equal(times, at_most))).as_py()
    return so_far if found is None else max(so_far, int(found))


def rows_by_hour(name: str, rows: pa.Table) -> list[tuple[str, pa.Table]]:
    """The rows of a table by the hours that they belong to, oldest first; all of them under "" if it has no hours."""
    column = TIME_COLUMNS.get(name)
    if column is None:
        return [("", rows)]
    numbers = rows.column(column).to_numpy() // HOUR_NS
    if numbers.min() == numbers.max():
        return [(hour_name(int(numbers[0])), rows)]
    order = np.argsort(numbers, kind="stable")
    found, starts = np.unique(numbers[order], return_index=True)
    ordered = rows.take(pa.array(order))
    ends = [*starts[1:].tolist(), len(order)]
    return [(hour_name(int(number)), ordered.slice(start, end - start))
            for number, start, end in zip(found, starts.tolist(), ends, strict=True)]
