"""A snapshot's tables as DuckDB views over their live Parquet files: never a glob, which would count rows twice.

DuckDB opens every file of a list to find out whether a predicate excludes it (0.2 ms each). So the view of a partitioned
table that covers several days joins one list a day, each with its bounds as a condition: a query with a predicate on the
table's time column opens the files of near days alone. A list costs 1 ms, so days and not hours.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import pyarrow as pa

from collectors import settings
from collectors.schema import TABLES
from collectors.tables.data_files import columns_mark, hour_of, mark_of
from collectors.tables.hours import HOUR_NS, TIME_COLUMNS, hour_number
from collectors.tables.live_files import live_files as live_files

_DAY_NS = 24 * HOUR_NS


def create_view(connection: duckdb.DuckDBPyConnection, view: str, name: str, files: Iterable[str]) -> None:
    """A view with the columns that the contract gives table ``name``, over Parquet files; an empty one without files.

    It takes the place of a view of that name. Columns that a file of an older store lacks are NULL.
    """
    names = ", ".join(f'"{column.name}"' for column in TABLES[name].columns)
    days: dict[int, list[str]] = {}
    for file in files:
        hour = hour_of(file)
        days.setdefault(hour_number(hour) // 24 if hour else 0, []).append(file)
    if not days:
        connection.register(f"{view}_of_no_file", TABLES[name].arrow.empty_table())
        connection.execute(f"CREATE TABLE IF NOT EXISTS no_{view} AS SELECT * FROM {view}_of_no_file")
        connection.unregister(f"{view}_of_no_file")
        selects = [f"SELECT {names} FROM no_{view}"]
    elif len(days) == 1:
        selects = [f"SELECT {names} FROM {_parquet(name, listed)}" for listed in days.values()]
    else:
        selects = [f"SELECT {names} FROM {_parquet(name, listed)} WHERE {TIME_COLUMNS[name]} >= {day * _DAY_NS} "
                   f"AND {TIME_COLUMNS[name]} < {(day + 1) * _DAY_NS}" for day, listed in sorted(days.items())]
    connection.execute(f"CREATE OR REPLACE VIEW {view} AS {' UNION ALL '.join(selects)}")


def literal(text: str) -> str:
    """``text`` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def sql_type(kind: pa.DataType) -> str:
    """What DuckDB calls a type of the contract."""
    if pa.types.is_map(kind):
        return f"MAP({sql_type(kind.key_type)}, {sql_type(kind.item_type)})"
    if pa.types.is_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return "STRUCT(" + ", ".join(f'"{field.name}" {sql_type(field.type)}' for field in kind) + ")"
    return _SCALARS[str(kind)]


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


_SCALARS = {"int64": "BIGINT", "int32": "INTEGER", "double": "DOUBLE", "string": "VARCHAR", "binary": "BLOB", "bool": "BOOLEAN"}


def _parquet(name: str, files: list[str]) -> str:
    listed = ", ".join(literal(file) for file in files)
    if all(mark_of(file) == columns_mark(name) for file in files):
        return f"read_parquet([{listed}], hive_partitioning = false)"
    columns = ", ".join(f"{literal(column.name)}: {{name: {literal(column.name)}, type: {literal(sql_type(column.type))}, "
                        "default_value: NULL}" for column in TABLES[name].columns)
    return f"read_parquet([{listed}], schema = MAP {{{columns}}})"
