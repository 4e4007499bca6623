"""Which hours of telemetry are removed: those beyond an age, then the oldest while the tables hold too many bytes.

Whole hours go, of all partitioned tables together, so that what stays still explains itself. Age counts from the newest hour
of telemetry and not from the machine's clock: a replay of last month keeps its rows, and a clock that leaps forward removes
nothing. Hours in the machine's future are no measure (one sender with a wrong clock would remove all others'), and stay.
The newest hour is never removed. Series, edges and rejects stay: they are small, and other rows refer to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collectors.schema import TABLES
from collectors.snapshot import Snapshot
from collectors.tables.delta_tables import DeltaTables
from collectors.tables.hours import HOUR_NS, TIME_COLUMNS, hour_number

ORDER = sorted(TIME_COLUMNS, key=lambda name: name in ("requests", "rollups"))
"""What is made of other rows goes after them, so that a crash in between leaves no hour that is said to be kept and is not."""


@dataclass(frozen=True, slots=True)
class Keep:
    """``hours``: of telemetry to keep, and ``size``: bytes of tables; 0 keeps all."""

    hours: int = 0
    size: int = 0


def hours_to_remove(sizes: Mapping[str, int], other_bytes: int, now_ns: int, keep: Keep) -> list[str]:
    """The hours to remove, oldest first. ``sizes``: hour -> bytes of all tables. ``other_bytes``: of tables without hours."""
    past = sorted((hour_number(hour), hour) for hour in sizes if hour_number(hour) * HOUR_NS <= now_ns + HOUR_NS)
    if not past:
        return []
    newest = past[-1][0]
    left = sum(sizes.values()) + other_bytes
    removed = []
    for number, hour in past[:-1]:
        too_old = keep.hours and number <= newest - keep.hours
        if not too_old and not (keep.size and left > keep.size):
            break
        removed.append(hour)
        left -= sizes[hour]
    return removed


def sizes_of(tables: DeltaTables) -> tuple[dict[str, int], int]:
    """Hour -> live bytes of the tables that have hours; and the live bytes of all others."""
    sizes: dict[str, int] = {}
    others = 0
    for name in TABLES:
        for file in tables.live(name):
            if file.hour:
                sizes[file.hour] = sizes.get(file.hour, 0) + file.size
            else:
                others += file.size
    return sizes, others


def remove_hour(tables: DeltaTables, snapshot: Snapshot, hour: str) -> None:
    """Remove the rows of an hour from all tables, and count them in ``snapshot``. The caller publishes."""
    removed = snapshot.removed
    for name in ORDER:
        files = [file for file in tables.live(name) if file.hour == hour]
        if files:
            tables.remove(name, files)
            removed["rows"] = removed.get("rows", 0) + sum(file.rows for file in files)
            removed["bytes"] = removed.get("bytes", 0) + sum(file.size for file in files)
    removed["hours"] = removed.get("hours", 0) + 1
    snapshot.clean_hours = [kept for kept in snapshot.clean_hours if kept != hour]
    snapshot.rolled_hours = [kept for kept in snapshot.rolled_hours if kept != hour]
