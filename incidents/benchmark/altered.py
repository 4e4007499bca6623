"""A store's tables in memory, told again in another way: what metamorphic tests hand to an analysis.

The tables of a store are copied once. Each telling is a schema of its own beside the copy: tables that an alteration changes
are written anew by its SELECTs, the others are views. Where spans change, attempts are assembled from them again, by the view
that every store has (``collectors/tables/requests.sql``), so that an alteration says what happens to spans and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from analysis.queries import Tables
from collectors.columns import Table
from collectors.live_views import sql_type
from collectors.schema import REQUESTS, TABLES
from collectors.tables.requests_table import requests_sql

DERIVED = ("rollups",)
"""Not copied: minutes of samples, which nothing here reads."""


@dataclass(frozen=True, slots=True)
class Alteration:
    """``selects``: for each table that changes, a SELECT over ``told.<table>`` with the table's columns; ``requests`` is never
    among them, see above. ``names``: what entities are called now, ``later_ns``: by how much everything is later; both say how
    answers are to be compared."""

    selects: Mapping[str, str]
    names: Mapping[str, str] = field(default_factory=dict)
    later_ns: int = 0


class CopiedTables:
    """The tables of a store in an in-memory DuckDB with one thread, as they are until ``tell`` is called. Close it, or the
    memory stays taken."""

    def __init__(self, tables: Tables) -> None:
        self.warnings = list(tables.warnings)
        self._connection = duckdb.connect()
        self._connection.execute("SET threads = 1")
        self._connection.execute("SET enable_progress_bar = false")
        self._connection.execute("CREATE SCHEMA told")
        for name, table in TABLES.items():
            rows = table.arrow.empty_table() if name in DERIVED else tables.query(f"SELECT * FROM {name}")
            self._connection.register("incoming", rows)
            self._connection.execute(f"CREATE TABLE told.{name} AS SELECT {_typed(table)} FROM incoming")
            self._connection.unregister("incoming")
        self.tell(Alteration({}))

    def tell(self, alteration: Alteration) -> None:
        """Tell the tables as ``alteration`` has them, in place of what was told before."""
        self._connection.execute("SET schema = 'main'")
        self._connection.execute("DROP SCHEMA IF EXISTS now CASCADE")
        self._connection.execute("CREATE SCHEMA now")
        selects = alteration.selects
        for name in TABLES:
            if name in selects:
                self._connection.execute(f"CREATE TABLE now.{name} AS {selects[name]}")
            elif name != "requests" or "spans" not in selects:
                self._connection.execute(f"CREATE VIEW now.{name} AS SELECT * FROM told.{name}")
            else:
                attempts = f"SELECT {_typed(REQUESTS)} FROM ({requests_sql('now.spans')})"
                self._connection.execute(f"CREATE TABLE now.requests AS {attempts}")
        self._connection.execute("SET schema = 'now'")

    def query(self, sql: str, params: Any = None) -> pa.Table:
        """Rows of one query as Arrow; tables by name are those of the last telling, ``told.<table>`` the copy."""
        return self._connection.sql(sql, params=params).to_arrow_table()

    def frame(self, sql: str, params: Any = None) -> pl.DataFrame:
        """The same as a polars frame."""
        found = pl.from_arrow(self.query(sql, params))
        assert isinstance(found, pl.DataFrame)
        return found

    def close(self) -> None:
        """Give the memory back."""
        self._connection.close()


def _typed(table: Table) -> str:
    return ", ".join(f'CAST("{column.name}" AS {sql_type(column.type)}) AS "{column.name}"' for column in table.columns)
