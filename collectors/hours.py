"""Hours: the partitions of the tables, written like ``2026-03-29T13`` (UTC)."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

HOUR_NS = 3_600_000_000_000
HOUR = "hour"

TIME_COLUMNS = {"spans": "start_ns", "requests": "arrival_ns", "steps": "start_ns", "samples": "ts_ns",
                "events": "ts_ns", "logs": "ts_ns"}
"""The partitioned tables, and the column whose hour a row belongs to. The other tables are small, and whole."""


def hour_name(number: int) -> str:
    """The name of an hour by its number since the epoch."""
    return datetime.fromtimestamp(number * 3600, UTC).strftime("%Y-%m-%dT%H")


def hour_number(name: str) -> int:
    """The number since the epoch of an hour by its name."""
    return int(datetime.strptime(name, "%Y-%m-%dT%H").replace(tzinfo=UTC).timestamp()) // 3600


def with_hour(name: str, table: pa.Table) -> pa.Table:
    """The table with its partition column, if it is a partitioned one."""
    column = TIME_COLUMNS.get(name)
    if column is None:
        return table
    numbers, places = np.unique(table.column(column).to_numpy() // HOUR_NS, return_inverse=True)
    names = pa.array([hour_name(int(number)) for number in numbers], pa.string())
    return table.append_column(pa.field(HOUR, pa.string()), names.take(pa.array(places)))
