"""Sealing: a window's rows of a store in one portable ``.duckdb`` file, which attaches to a ticket and opens anywhere.

A window [start, end) keeps ``requests`` that overlap it, spans of their traces and those that overlap it, steps that
overlap it, samples, events and logs in it, and the minutes of these samples. Series, edges and rejects stay whole: they are
small, and other rows refer to them.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import duckdb

from collectors.columns import Table
from collectors.durable import FULL, sync_path
from collectors.errors import BadInput, StorageFull
from collectors.live_views import literal, open_duckdb
from collectors.schema import ROLLUPS, SCHEMA_VERSION, TABLES
from collectors.sealed_file import ABOUT, DATABASE
from collectors.snapshot import FORMAT
from collectors.store import Store
from collectors.tables.rollups import rollups_sql

_OVERLAPS = "{first} < $end AND {last} >= $start"
_KEPT = {
    "spans": "(start_ns < $end AND COALESCE(end_ns, start_ns) >= $start) OR (trace_hi, trace_lo) IN "
             "(SELECT (trace_hi, trace_lo) FROM requests WHERE arrival_ns < $end AND "
             "COALESCE(end_ns, arrival_ns) >= $start)",
    "requests": _OVERLAPS.format(first="arrival_ns", last="COALESCE(end_ns, arrival_ns)"),
    "steps": _OVERLAPS.format(first="start_ns", last="start_ns + COALESCE(duration_ns, 0)"),
    "samples": "ts_ns >= $start AND ts_ns < $end",
    "events": "ts_ns >= $start AND ts_ns < $end",
    "logs": "ts_ns >= $start AND ts_ns < $end",
}


def seal(store: Store, out: str | Path, start_ns: int | None = None, end_ns: int | None = None) -> dict[str, int]:
    """Write the rows of [``start_ns``, ``end_ns``) (UTC ns; None: open) to ``out``; returns table -> rows.

    ``out`` appears whole or not at all. Raises BadInput when it exists already, is not named ``.duckdb``, or the window
    is empty; StorageFull when the disk takes no more.
    """
    path = Path(out).absolute()
    if path.suffix != ".duckdb":
        raise BadInput(f"{out}: a sealed store is named .duckdb, for example {path.with_suffix('.duckdb').name}")
    if path.exists():
        raise BadInput(f"{out}: exists already; remove it, or give another name")
    if not path.parent.is_dir():
        raise BadInput(f"{out}: there is no folder {path.parent}")
    if start_ns is not None and end_ns is not None and start_ns >= end_ns:
        raise BadInput(f"the window from {start_ns} to {end_ns} ns is empty; its end must come after its start")
    partial = path.with_name(f".{path.stem}.{os.getpid()}.duckdb")
    try:
        rows = _write(store, partial, start_ns, end_ns)
        sync_path(partial)
        partial.rename(path)
        sync_path(path.parent)
    except (duckdb.Error, OSError) as error:
        if "No space left" in str(error) or (isinstance(error, OSError) and error.errno in FULL):
            raise StorageFull(f"{out}: the disk takes no more bytes; free some space and seal again") from error
        raise
    finally:
        for left in (partial, partial.with_name(partial.name + ".wal")):
            with contextlib.suppress(FileNotFoundError):
                left.unlink()
    return rows


def _write(store: Store, path: Path, start_ns: int | None, end_ns: int | None) -> dict[str, int]:
    rows: dict[str, int] = {}
    with open_duckdb() as connection:
        connection.execute(f"ATTACH {literal(str(path))} AS {DATABASE} (STORAGE_VERSION 'latest')")
        for name, table in TABLES.items():
            found = store.query(*_selection(table, start_ns, end_ns)).cast(table.arrow)
            connection.register("rows_to_seal", found)
            connection.execute(f"CREATE TABLE {DATABASE}.{name} AS SELECT * FROM rows_to_seal")
            connection.unregister("rows_to_seal")
            rows[name] = found.num_rows
        connection.execute(f"CREATE TABLE {DATABASE}.{ABOUT} (format VARCHAR, schema_version INTEGER, start_ns BIGINT, "
                           "end_ns BIGINT, warnings VARCHAR)")
        connection.execute(f"INSERT INTO {DATABASE}.{ABOUT} VALUES (?, ?, ?, ?, ?)",
                           [FORMAT, SCHEMA_VERSION, start_ns, end_ns, json.dumps(store.warnings)])
        connection.execute(f"DETACH {DATABASE}")
    return rows


def _selection(table: Table, start_ns: int | None, end_ns: int | None) -> tuple[str, dict[str, int]]:
    order = ", ".join(table.sorted_by)
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    kept = _KEPT.get(table.name)
    window = {"start": -(1 << 63) if start_ns is None else start_ns, "end": (1 << 63) - 1 if end_ns is None else end_ns}
    if table is ROLLUPS and (start_ns, end_ns) != (None, None):
        samples = f"(SELECT * FROM samples WHERE {_KEPT['samples']})"
        return f"SELECT {names} FROM ({rollups_sql(samples)}) ORDER BY {order}", window
    if kept is None or (start_ns is None and end_ns is None):
        return f"SELECT {names} FROM {table.name} ORDER BY {order}", {}
    return f"SELECT {names} FROM {table.name} WHERE {kept} ORDER BY {order}", window
