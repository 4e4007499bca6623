"""What a reader of a telemetry folder sees: one view for each table of the contract, all of one snapshot.

Two of them merge. ``requests`` takes clean hours from the materialised table and builds the attempts of all other hours from
spans; ``edges`` joins what each round of decoding saw of one relation.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from collectors.delta_tables import table_path
from collectors.errors import StoreUnreadable
from collectors.hours import HOUR, HOUR_NS, hour_name, hour_number
from collectors.live_views import create_view, live_files
from collectors.requests_table import REACH_HOURS, hours_of, requests_sql
from collectors.schema import REQUESTS, TABLES
from collectors.snapshot import Snapshot

_EDGES = """CREATE VIEW edges AS
SELECT src, dst, kind, min(first_seen_ns) AS first_seen_ns, max(last_seen_ns) AS last_seen_ns,
    CAST(sum(count) AS BIGINT) AS count, max(frame) AS frame
FROM edges_seen GROUP BY src, dst, kind"""


def check_files(store: Path, snapshot: Snapshot) -> None:
    """StoreUnreadable when a live file of the snapshot is missing or has another size than its commit says."""
    for name, version in snapshot.tables.items():
        if name not in TABLES:
            raise StoreUnreadable(f"{store}: the snapshot names the unknown table {name!r}; restore it from a copy")
        path = table_path(store, name)
        try:
            actions = DeltaTable(path, version=version).get_add_actions(flatten=True)
        except (DeltaError, OSError, ValueError) as error:
            raise StoreUnreadable(f"{path}: version {version}, which the snapshot names, cannot be read ({error}); "
                                  "the store is half-written or half-copied") from error
        for file, size in zip(actions.column("path").to_pylist(), actions.column("size_bytes").to_pylist(), strict=True):
            found = (path / file).stat().st_size if (path / file).is_file() else None
            if found != size:
                state = "is missing" if found is None else f"has {found} bytes instead of {size}"
                raise StoreUnreadable(f"{path / file}: {state}; the store is half-written or half-copied")


def create_views(connection: duckdb.DuckDBPyConnection, store: Path, snapshot: Snapshot) -> None:
    """Create a view for each table of the contract over the live files of ``snapshot``."""
    for name in TABLES:
        if name not in ("requests", "edges"):
            create_view(connection, name, name, live_files(store, name, snapshot.tables.get(name)))
    create_view(connection, "edges_seen", "edges", live_files(store, "edges", snapshot.tables.get("edges")))
    connection.execute(_EDGES)
    _create_requests(connection, store, snapshot)


def _create_requests(connection: duckdb.DuckDBPyConnection, store: Path, snapshot: Snapshot) -> None:
    clean = snapshot.clean_hours
    kept = live_files(store, "requests", snapshot.tables.get("requests"), [(HOUR, "in", clean)]) if clean else []
    create_view(connection, "requests_kept", "requests", kept)
    spans = snapshot.tables.get("spans")
    open_hours = sorted(hours_of(store, "spans", spans) - set(clean))
    files: list[str] = []
    if open_hours:
        near = {hour_name(hour_number(hour) + reach)
                for hour in open_hours for reach in range(-REACH_HOURS, REACH_HOURS + 1)}
        files = live_files(store, "spans", spans, [(HOUR, "in", sorted(near))])
    create_view(connection, "spans_of_open_hours", "spans", files)
    numbers = ", ".join(str(hour_number(hour)) for hour in open_hours) or "NULL"
    columns = ", ".join(f'CAST("{column.name}" AS {_DUCKDB[str(column.type)]}) AS "{column.name}"'
                        for column in REQUESTS.columns)
    connection.execute(
        f"CREATE VIEW requests AS SELECT * FROM requests_kept UNION ALL "
        f"SELECT {columns} FROM ({requests_sql('spans_of_open_hours')}) WHERE arrival_ns // {HOUR_NS} IN ({numbers})")


_DUCKDB = {"int64": "BIGINT", "int32": "INTEGER", "string": "VARCHAR"}
