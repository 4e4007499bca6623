"""What a reader of a telemetry folder sees: one view for each table of the contract, all of one snapshot.

Three of them merge. ``requests`` takes clean hours from the materialised table and builds the attempts of all other hours
from spans; ``rollups`` does the same with samples; ``edges`` joins what each round of decoding saw of one relation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import duckdb
from deltalake.exceptions import DeltaError

from collectors.errors import StoreUnreadable
from collectors.live_views import create_view, sql_type
from collectors.schema import REQUESTS, TABLES
from collectors.snapshot import Snapshot
from collectors.tables.data_files import DataFile
from collectors.tables.hours import HOUR_NS, hour_name, hour_number
from collectors.tables.live_files import read_live_files, table_path
from collectors.tables.requests_table import REACH_HOURS, requests_sql
from collectors.tables.rollups import rollups_sql

Live = dict[str, list[DataFile]]
"""The live files of each table of the contract; none of a table that is not there."""

EDGES_SQL = """SELECT src, dst, kind, min(first_seen_ns) AS first_seen_ns, max(last_seen_ns) AS last_seen_ns,
    CAST(sum(count) AS BIGINT) AS count, max(frame) AS frame
FROM {seen} GROUP BY src, dst, kind"""
"""One row for each relation, from those of several rounds."""


def live_tables(store: Path, snapshot: Snapshot) -> Live:
    """The files of a snapshot, all there in the size that the log says. Raises StoreUnreadable naming one that is not."""
    live: Live = {name: [] for name in TABLES}
    for name, version in snapshot.tables.items():
        if name not in TABLES:
            raise StoreUnreadable(f"{store}: the snapshot names the unknown table {name!r}; restore it from a copy")
        path = table_path(store, name)
        try:
            live[name] = read_live_files(store, name, version)
        except (DeltaError, OSError, ValueError) as error:
            raise StoreUnreadable(f"{path}: version {version}, which the snapshot names, cannot be read ({error}); "
                                  "the store is half-written or half-copied") from error
        for file in live[name]:
            found = size_of(path / file.path)
            if found != file.size:
                state = "is missing" if found is None else f"has {found} bytes instead of {file.size}"
                raise StoreUnreadable(f"{path / file.path}: {state}; the store is half-written or half-copied")
    return live


def size_of(path: Path) -> int | None:
    """The bytes of a file; None when there is none."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def create_views(connection: duckdb.DuckDBPyConnection, store: Path, snapshot: Snapshot, live: Live) -> None:
    """Create a view for each table of the contract over the live files of ``snapshot``."""

    def view(name: str, table: str, files: Iterable[DataFile]) -> None:
        create_view(connection, name, table, [str(table_path(store, table) / file.path) for file in files])

    for name in TABLES:
        if name not in ("requests", "rollups", "edges"):
            view(name, name, live[name])
    view("edges_seen", "edges", live["edges"])
    connection.execute(f"CREATE VIEW edges AS {EDGES_SQL.format(seen='edges_seen')}")

    view("requests_kept", "requests", _of(live["requests"], snapshot.clean_hours))
    open_hours = _not_in(live["spans"], snapshot.clean_hours)
    near = {hour_name(number + reach) for number in map(hour_number, open_hours)
            for reach in range(-REACH_HOURS, REACH_HOURS + 1)}
    view("spans_of_open_hours", "spans", _of(live["spans"], near))
    columns = ", ".join(f'CAST("{column.name}" AS {sql_type(column.type)}) AS "{column.name}"' for column in REQUESTS.columns)
    connection.execute(
        f"CREATE VIEW requests AS SELECT * FROM requests_kept UNION ALL SELECT {columns} "
        f"FROM ({requests_sql('spans_of_open_hours')}) WHERE {_in_hours('arrival_ns', open_hours)}")

    view("rollups_kept", "rollups", _of(live["rollups"], snapshot.rolled_hours))
    view("samples_of_open_hours", "samples", _of(live["samples"], _not_in(live["samples"], snapshot.rolled_hours)))
    connection.execute(f"CREATE VIEW rollups AS SELECT * FROM rollups_kept UNION ALL {rollups_sql('samples_of_open_hours')}")


def _of(files: Iterable[DataFile], hours: Collection[str]) -> list[DataFile]:
    wanted = set(hours)
    return [file for file in files if file.hour in wanted]


def _not_in(files: Iterable[DataFile], hours: Collection[str]) -> list[str]:
    return sorted({file.hour for file in files} - set(hours))


def _in_hours(column: str, hours: Collection[str]) -> str:
    return f"{column} // {HOUR_NS} IN ({', '.join(str(hour_number(hour)) for hour in hours) or 'NULL'})"
