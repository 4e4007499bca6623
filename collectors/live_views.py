"""A snapshot's tables as DuckDB views over their live Parquet files: never a glob, which would count rows twice."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb
from deltalake import DeltaTable

from collectors import settings
from collectors.delta_tables import Hours, table_path
from collectors.schema import TABLES


def live_files(store: Path, name: str, version: int | None, hours: Hours | None = None) -> list[str]:
    """The live files of a table at a version (None: there is no table), all or those of the hours that fit the filter."""
    if version is None:
        return []
    return sorted(DeltaTable(table_path(store, name), version=version).file_uris(
        file_pruning_predicate=list(hours) if hours else None))


def create_view(connection: duckdb.DuckDBPyConnection, view: str, name: str, files: Iterable[str]) -> None:
    """A view with the columns that the contract gives table ``name``, over Parquet files; an empty one without files.

    It takes the place of a view of that name.
    """
    names = ", ".join(f'"{column.name}"' for column in TABLES[name].columns)
    listed = ", ".join(literal(file) for file in files)
    if listed:
        source = f"read_parquet([{listed}], hive_partitioning = false)"
    else:
        connection.register(f"{view}_of_no_file", TABLES[name].arrow.empty_table())
        connection.execute(f"CREATE TABLE IF NOT EXISTS no_{view} AS SELECT * FROM {view}_of_no_file")
        connection.unregister(f"{view}_of_no_file")
        source = f"no_{view}"
    connection.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT {names} FROM {source}")


def literal(text: str) -> str:
    """``text`` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def open_duckdb() -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB as every reader here uses it: UTC, threads and memory as set, nothing installed, loaded or
    spilt to disk."""
    now = settings.current()
    connection = duckdb.connect(":memory:", config={
        "threads": str(now.value("store.duckdb_threads")), "memory_limit": now.value("store.duckdb_memory"),
        "python_enable_replacements": "false", "temp_directory": "",
        "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    connection.execute("SET TimeZone = 'UTC'")
    return connection
