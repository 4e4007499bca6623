"""The store as every reader opens it: read-only, one snapshot of all tables, whatever it is kept in.

    with Store.open("out/store") as store:                          # a telemetry folder, or a sealed .duckdb
        table = store.query("SELECT * FROM requests WHERE outcome = $outcome", {"outcome": "timeout"})

The connection is locked: of the file system it sees the store alone. It does not see what comes after it was opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import duckdb
import pyarrow as pa

from collectors.errors import BadInput, StoreUnreadable
from collectors.live_views import literal, open_duckdb
from collectors.merged_views import create_views, live_tables
from collectors.recent_bodies import FOLDER as JOURNAL_FOLDER
from collectors.schema import TABLES
from collectors.sealed_file import attach
from collectors.snapshot import Snapshot, read_identity, read_snapshot
from collectors.store_warnings import folder_warnings, reject_warning
from collectors.tables.delta_tables import FOLDER as TABLES_FOLDER

if TYPE_CHECKING:
    import polars as pl

Params = Mapping[str, Any] | Sequence[Any]


class Store:
    """A store to read from. Make one with ``Store.open``; close it, or use it as a context.

    ``path`` is where it lies; ``warnings`` says, a sentence each, what a reader should know: damage found in the
    journal, frames not decoded, columns and bodies that could not be taken.
    """

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection, warnings: list[str]) -> None:
        self.path = path
        self.warnings = warnings
        self._connection = connection

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a telemetry folder or a sealed file. Nothing in it is changed.

        Raises StoreUnreadable, in one line, when there is nothing, something else, a half-written store, a damaged
        one, or one of a newer schema.
        """
        place = Path(path).absolute()
        if not place.exists():
            raise StoreUnreadable(f"{path}: there is no such file or folder; give a store that a replay or an intake made")
        connection = open_duckdb()
        try:
            warnings = _open_folder(connection, place) if place.is_dir() else _open_file(connection, place)
            _lock(connection, place / TABLES_FOLDER if place.is_dir() else place)
            rejected = reject_warning(connection)
        except duckdb.Error as error:
            connection.close()
            raise StoreUnreadable(f"{path}: cannot be read ({_line(error)})") from error
        except BaseException:
            connection.close()
            raise
        return cls(place, connection, warnings + rejected)

    def query(self, sql: str, params: Params | None = None) -> pa.Table:
        """Rows of one query as Arrow. ``params``: values for ``$name`` (a mapping) or ``?`` (a sequence).

        Raises BadInput when DuckDB refuses the query, StoreUnreadable when a file of the store cannot be read.
        """
        with self._connection.cursor() as cursor:
            try:
                found = cursor.sql(sql, params=params)
                if found is None:
                    raise BadInput("the statement gives no rows; a store takes queries alone")
                return found.to_arrow_table()
            except duckdb.Error as error:
                if _is_damage(error):
                    raise StoreUnreadable(f"{self.path}: {_line(error)}; `flashover store check {self.path}` says what is "
                                          "damaged") from error
                raise BadInput(f"query refused: {_line(error)}") from error

    def frame(self, sql: str, params: Params | None = None) -> pl.DataFrame:
        """Rows of one query as a polars frame."""
        import polars as pl

        found = pl.from_arrow(self.query(sql, params))
        assert isinstance(found, pl.DataFrame)
        return found

    def tables(self) -> list[str]:
        """The names of the tables, in the order of the contract."""
        return list(TABLES)

    def close(self) -> None:
        """Let go of the files. Calling it twice is harmless."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _open_folder(connection: duckdb.DuckDBPyConnection, store: Path) -> list[str]:
    identity = read_identity(store)
    if identity is None:
        half = [name for name in (JOURNAL_FOLDER, TABLES_FOLDER, "snapshot.json") if (store / name).exists()]
        if half:
            raise StoreUnreadable(f"{store}: is a half-written store ({', '.join(half)} without store.json); restore it "
                                  "from a copy, or replay into a new folder")
        raise StoreUnreadable(f"{store}: is no store (it has no store.json); give one that a replay or an intake made")
    published = read_snapshot(store)
    snapshot = published or Snapshot(identity)
    if snapshot.journal != identity:
        raise StoreUnreadable(f"{store}: snapshot.json is of journal {snapshot.journal} and store.json of {identity}; "
                              "restore both from one copy")
    warnings = folder_warnings(store, identity, snapshot, published=published is not None)
    create_views(connection, store, snapshot, live_tables(store, snapshot))
    return warnings


def _open_file(connection: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    warnings: list[str] = attach(connection, path)["warnings"]
    return warnings


def _lock(connection: duckdb.DuckDBPyConnection, seen: Path) -> None:
    which = "allowed_directories" if seen.suffix != ".duckdb" and not seen.is_file() else "allowed_paths"
    connection.execute(f"SET {which} = [{literal(str(seen))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _is_damage(error: duckdb.Error) -> bool:
    """Whether a file is to blame and not the query: DuckDB's readers raise plain errors for bytes that make no sense."""
    return isinstance(error, duckdb.IOException) or type(error) is duckdb.Error or (
        isinstance(error, duckdb.InvalidInputException) and ".parquet" in str(error))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
