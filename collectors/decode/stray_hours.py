"""Rows in very many hours: each hour of a round is a file, so one body of made-up times could make a hundred thousand of them.

A round's rows of one table keep the hours that have most rows (the newest of those that have equally many), up to a bound
far beyond what a fleet that lagged for weeks sends. The other rows become rejects.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from collectors.tables.hours import HOUR_NS, TIME_COLUMNS

MOST_HOURS = 1_000


def without_strays(name: str, rows: pa.Table, most: int = MOST_HOURS) -> tuple[pa.Table, pa.Table]:
    """The rows of table ``name`` in at most ``most`` hours, and the others."""
    column = TIME_COLUMNS.get(name)
    if column is None or rows.num_rows <= most:
        return rows, rows.slice(0, 0)
    hours, place, counts = np.unique(rows.column(column).to_numpy() // HOUR_NS, return_inverse=True, return_counts=True)
    if len(hours) <= most:
        return rows, rows.slice(0, 0)
    kept = np.zeros(len(hours), np.bool_)
    kept[np.lexsort((hours, counts))[-most:]] = True
    mask = kept[place]
    return rows.filter(pa.array(mask)), rows.filter(pa.array(~mask))


def told(name: str, strays: pa.Table) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """For each row: its frame, why it was left out, and what it holds."""
    for row in strays.to_pylist():
        yield row["frame"], f"a row of {name} in one hour of too many: a round takes rows of {MOST_HOURS} hours", row
