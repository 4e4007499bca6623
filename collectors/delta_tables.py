"""The store's Delta tables: appended to by one worker, each commit with the last journal frame that it holds.

delta-rs records an application transaction (journal uuid -> last frame) but does not enforce it, and does not sync
local files: both are done here. ``commit`` returns only when data files, log entry and folders are durable.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import DeltaError

from collectors.durable import sync_all
from collectors.errors import StorageFull
from collectors.hours import HOUR, TIME_COLUMNS, with_hour
from collectors.schema import TABLES

Hours = Sequence[tuple[str, str, str | list[str]]]
"""A filter of hours, for example ``[("hour", ">=", "2026-03-29T13")]``."""

FOLDER = "tables"
CHECKPOINT_EVERY = 50
_LOG = "_delta_log"
_PARQUET = WriterProperties(compression="ZSTD", compression_level=1)
_BY_HAND = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


def table_path(store: Path, name: str) -> Path:
    """Where a table lies."""
    return store / FOLDER / name


class DeltaTables:
    """The tables of one store, written under one journal uuid."""

    def __init__(self, store: Path, journal: str) -> None:
        self._store = store
        self._journal = journal
        self._open: dict[str, DeltaTable] = {}
        for name in TABLES:
            if (table_path(store, name) / _LOG).is_dir() and DeltaTable.is_deltatable(str(table_path(store, name))):
                self._open[name] = DeltaTable(table_path(store, name))

    def versions(self) -> dict[str, int]:
        """Name -> version, of the tables that exist."""
        return {name: table.version() for name, table in self._open.items()}

    def files(self, name: str, hours: Hours | None = None) -> list[str]:
        """The live files of a table, as ``live_views.live_files`` gives them; none when there is no such table."""
        table = self._open.get(name)
        return sorted(table.file_uris(file_pruning_predicate=list(hours) if hours else None)) if table is not None else []

    def hours(self, name: str) -> set[str]:
        """The hours that a partitioned table has rows of."""
        table = self._open.get(name)
        return {str(part[HOUR]) for part in table.partitions()} if table is not None else set()

    def last_frame(self, name: str) -> int:
        """The last frame of our journal whose rows are in the table; 0 when there is none."""
        table = self._open.get(name)
        return (table.transaction_version(self._journal) or 0) if table is not None else 0

    def append(self, name: str, rows: pa.Table, frame: int) -> None:
        """Append rows as one durable commit that says: all frames up to ``frame`` are in."""
        self._write(name, rows, mode="append", commit_properties=CommitProperties(
            app_transactions=[Transaction(self._journal, frame)]))

    def replace_hour(self, name: str, hour: str, rows: pa.Table) -> None:
        """Replace an hour's rows by others in one durable commit. ``rows`` may be empty."""
        self._write(name, rows, mode="overwrite", predicate=f"{HOUR} = '{hour}'")

    def sync_since(self, name: str, version: int) -> None:
        """Make the commits after ``version`` durable: what a crash may have kept from being synced."""
        if name in self._open:
            for later in range(version + 1, self._open[name].version() + 1):
                self._sync(name, later)

    def compact(self, name: str, most_files: int) -> None:
        """Join small files when a table has more than ``most_files`` live ones. The old files stay until a vacuum."""
        table = self._open.get(name)
        if table is None or len(table.file_uris()) <= most_files:
            return
        before = table.version()
        table.optimize.compact(writer_properties=_PARQUET, post_commithook_properties=_BY_HAND)
        self.sync_since(name, before)

    def _write(self, name: str, rows: pa.Table, **how: Any) -> None:
        path = table_path(self._store, name)
        try:
            if name not in self._open:
                self._create(name, path)
            write_deltalake(self._open[name], with_hour(name, rows), writer_properties=_PARQUET,
                            post_commithook_properties=_BY_HAND, **how)
            version = self._open[name].version()
            self._sync(name, version)
            if version % CHECKPOINT_EVERY == 0:
                self._open[name].create_checkpoint()
                log = path / _LOG
                sync_all([*log.glob(f"{version:020d}.checkpoint*"), log / "_last_checkpoint", log])
        except (DeltaError, OSError) as error:
            if "No space left" in str(error) or "quota exceeded" in str(error):
                raise StorageFull(f"{path}: the disk takes no more bytes; what was acknowledged is safe in the journal; "
                                  "free some space and run again") from error
            raise

    def _create(self, name: str, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        schema = TABLES[name].arrow
        partitioned = name in TIME_COLUMNS
        if partitioned:
            schema = schema.append(pa.field(HOUR, pa.string()))
        self._open[name] = DeltaTable.create(path, schema=schema, partition_by=[HOUR] if partitioned else None,
                                             post_commithook_properties=_BY_HAND)
        self._sync(name, 0)
        sync_all([path.parent, self._store])

    def _sync(self, name: str, version: int) -> None:
        path = table_path(self._store, name)
        entry = path / _LOG / f"{version:020d}.json"
        actions = [json.loads(line) for line in entry.read_bytes().splitlines()]
        files = [path / unquote(action["add"]["path"]) for action in actions if "add" in action]
        sync_all([*files, *(file.parent for file in files), entry, entry.parent, path])
