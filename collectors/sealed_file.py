"""The sealed store: one ``.duckdb`` file with a table for each table of the contract, and one that says what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb

from collectors.errors import StoreUnreadable
from collectors.live_views import literal, sql_type
from collectors.schema import ROLLUPS, TABLES
from collectors.snapshot import FORMAT, check_version
from collectors.tables.rollups import rollups_sql

DATABASE = "sealed"
ABOUT = "flashover_store"
"""The table that marks the file. Its one row: format, schema_version, start_ns and end_ns of the window, warnings (JSON)."""

_MAGIC_AT, _MAGIC = 8, b"DUCK"


def attach(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, Any]:
    """Attach a sealed file read-only, with a view for each of its tables; returns the row that says what it is.

    Raises StoreUnreadable when the file is something else, damaged, or of a newer schema.
    """
    with path.open("rb") as file:
        head = file.read(_MAGIC_AT + len(_MAGIC))
    if head[_MAGIC_AT:] != _MAGIC:
        raise StoreUnreadable(f"{path}: is no sealed store (no DuckDB file); give a telemetry folder or a file that "
                              "`flashover seal` wrote")
    try:
        connection.execute(f"ATTACH {literal(str(path))} AS {DATABASE} (READ_ONLY)")
        about = _about(connection, path)
        for name in TABLES:
            _create_view(connection, name)
    except duckdb.Error as error:
        raise StoreUnreadable(f"{path}: cannot be read as a sealed store ({' '.join(str(error).split())})") from error
    return about


def _create_view(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Columns that an older file lacks are NULL, and its minutes are reckoned from its samples."""
    rows = connection.execute("SELECT column_name FROM duckdb_columns() WHERE database_name = ? AND table_name = ?",
                              [DATABASE, name]).fetchall()
    has = {row[0] for row in rows}
    if not has and name == ROLLUPS.name:
        connection.execute(f"CREATE VIEW {name} AS {rollups_sql('samples')}")
        return
    columns = ", ".join(f'"{column.name}"' if column.name in has
                        else f'CAST(NULL AS {sql_type(column.type)}) AS "{column.name}"' for column in TABLES[name].columns)
    connection.execute(f"CREATE VIEW {name} AS SELECT {columns} FROM {DATABASE}.{name}")


def _about(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, Any]:
    marked = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE database_name = ? AND table_name = ?",
                                [DATABASE, ABOUT]).fetchone()
    if marked != (1,):
        raise StoreUnreadable(f"{path}: is a DuckDB file, but no sealed store; give one that `flashover seal` wrote")
    row = connection.execute(
        f"SELECT format, schema_version, start_ns, end_ns, warnings FROM {DATABASE}.{ABOUT}").fetchone()
    if row is None or row[0] != FORMAT:
        raise StoreUnreadable(f"{path}: is half-written; seal it anew")
    check_version(path, row[1])
    return {"start_ns": row[2], "end_ns": row[3], "warnings": list(json.loads(row[4]))}
