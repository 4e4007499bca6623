"""The store's Delta tables: written by one worker, each commit with the last journal frame that it holds.

delta-rs keeps the log; data files are written here, so that they are durable and summed before a commit speaks of them
(delta-rs's writer syncs nothing: after a power loss its log may name files that are not there). delta-rs also records an
application transaction (journal uuid -> last frame) without enforcing it: the one worker does. A method that commits returns
when data files, log entry and folders are durable.

An open DeltaTable pays for every commit since it was loaded (100 ms each after 600), so it is loaded anew after each
checkpoint: then a commit costs 3 to 7 ms however many there were.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, PostCommitHookProperties, Transaction
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from collectors.checksums import Checksums
from collectors.clock import Clock, SystemClock
from collectors.data_files import DataFile, write_data_file
from collectors.durable import FULL, sync_all
from collectors.errors import StorageFull
from collectors.hours import HOUR, TIME_COLUMNS, rows_by_hour
from collectors.live_files import FOLDER as FOLDER
from collectors.live_files import LOG, Hours, fits, live_files_of, log_entry, table_path
from collectors.schema import TABLES
from collectors.snapshot import Snapshot, read_snapshot

CHECKPOINT_EVERY = 20
_KEPT = {"delta.logRetentionDuration": "interval 1 hours", "delta.deletedFileRetentionDuration": "interval 1 hours"}
_BY_HAND = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class DeltaTables:
    """The tables of one store, written under one journal uuid by the process that owns it.

    ``retired``: files that a commit took out, with the table's name and the version that lacks them first. They lie on
    disk until the upkeep has seen to it that no reader needs them, which empties this list.
    """

    def __init__(self, store: Path, journal: str, clock: Clock | None = None) -> None:
        self.store = store
        self.checksums = Checksums(store)
        self.retired: list[tuple[str, int, str]] = []
        self._journal = journal
        self._clock = clock or SystemClock()
        self._open: dict[str, DeltaTable] = {}
        self._live: dict[str, dict[str, DataFile]] = {}
        published = (read_snapshot(store) or Snapshot(journal)).tables
        for name in TABLES:
            path = table_path(store, name)
            if (path / LOG).is_dir():
                _drop_torn(path / LOG, published.get(name, -1))
                if DeltaTable.is_deltatable(str(path)):
                    self._load(name)
        self.checksums.note(path for name in self._open for path in self.log_files(name) if not self.checksums.knows(path))

    def versions(self) -> dict[str, int]:
        """Name -> version, of the tables that exist."""
        return {name: table.version() for name, table in self._open.items()}

    def live(self, name: str) -> list[DataFile]:
        """The live files of a table, in order of their paths; none when there is no such table."""
        return [file for _, file in sorted(self._live.get(name, {}).items())]

    def files(self, name: str, hours: Hours | None = None) -> list[str]:
        """Where the live files of a table lie, as ``live_files.live_files`` gives them."""
        return [str(table_path(self.store, name) / file.path) for file in self.live(name) if fits(file.hour, hours)]

    def hours(self, name: str) -> set[str]:
        """The hours that a partitioned table has rows of."""
        return {file.hour for file in self._live.get(name, {}).values() if file.hour}

    def last_frame(self, name: str) -> int:
        """The last frame of our journal whose rows are in the table; 0 when there is none."""
        table = self._open.get(name)
        return (table.transaction_version(self._journal) or 0) if table is not None else 0

    def append(self, name: str, rows: pa.Table, frame: int) -> None:
        """Append rows as one durable commit that says: all frames up to ``frame`` are in."""
        with self._disk(name):
            added = [write_data_file(table_path(self.store, name), name, hour, part.to_batches())
                     for hour, part in rows_by_hour(name, rows)]
            self._commit(name, added, [], frame=frame)

    def replace_hour(self, name: str, hour: str, rows: pa.Table | Iterable[pa.Table]) -> None:
        """Replace an hour's rows by others in one durable commit. ``rows`` may be empty; of several tables, each becomes
        a file."""
        parts = [rows] if isinstance(rows, pa.Table) else rows
        with self._disk(name):
            added = [write_data_file(table_path(self.store, name), name, hour, part.to_batches())
                     for part in parts if part.num_rows]
            self._commit(name, added, [file for file in self.live(name) if file.hour == hour])

    def rewrite(self, name: str, old: Sequence[DataFile], batches: Iterable[pa.RecordBatch]) -> DataFile:
        """Put one file with the rows of ``old`` files, all of one hour, in their place; returns it."""
        with self._disk(name):
            new = write_data_file(table_path(self.store, name), name, old[0].hour, batches)
            self._commit(name, [new], old, same_rows=True)
        return new

    def remove(self, name: str, old: Sequence[DataFile]) -> None:
        """Take files out of a table, rows and all, in one durable commit."""
        with self._disk(name):
            self._commit(name, [], old)

    def sync_since(self, name: str, version: int) -> None:
        """Make the commits after ``version`` durable: what a crash may have kept from being synced."""
        if name in self._open:
            path = table_path(self.store, name)
            entries = [log_entry(path, later) for later in range(version + 1, self._open[name].version() + 1)]
            sync_all([*entries, path / LOG, path] if entries else [])

    def log_files(self, name: str) -> list[Path]:
        """The entries and checkpoints of a table's log, and the hint which checkpoint is the last, as far as they exist."""
        log = table_path(self.store, name) / LOG
        hint = log / "_last_checkpoint"
        return [*sorted(log.glob("*.json")), *sorted(log.glob("*.checkpoint*.parquet")), *([hint] if hint.exists() else [])]

    def _load(self, name: str) -> None:
        table = DeltaTable(table_path(self.store, name))
        self._open[name] = table
        self._live[name] = {file.path: file for file in live_files_of(table, name)}

    def _commit(self, name: str, added: Sequence[DataFile], removed: Sequence[DataFile], *, frame: int | None = None,
                same_rows: bool = False) -> None:
        path, now_ms = table_path(self.store, name), self._clock.now_ns() // 1_000_000
        if name not in self._open:
            self._create(name, path)
        elif added:
            self._widen(name)
        table = self._open[name]
        actions: list[AddAction | RemoveAction] = [
            AddAction(file.path, file.size, _partition(file), now_ms, not same_rows, file.statistics(name)) for file in added]
        actions += [RemoveAction(file.path, not same_rows, now_ms, file.size, _partition(file)) for file in removed]
        transactions = None if frame is None else [Transaction(self._journal, frame)]
        table.create_write_transaction(
            actions, "append", table.schema(), partition_by=[HOUR] if name in TIME_COLUMNS else None,
            commit_properties=CommitProperties(app_transactions=transactions), post_commithook_properties=_BY_HAND)
        table.update_incremental()
        live = self._live[name]
        for file in removed:
            del live[file.path]
            self.retired.append((name, table.version(), file.path))
        live.update({file.path: file for file in added})
        self._settle(name)

    def _settle(self, name: str) -> None:
        """Sync and sum up the newest log entry, and every so often write a checkpoint."""
        path, version = table_path(self.store, name), self._open[name].version()
        entry = log_entry(path, version)
        sync_all([entry, path / LOG])
        self.checksums.note([entry])
        if version % CHECKPOINT_EVERY == 0 and version:
            self._open[name].create_checkpoint()
            made = [*(path / LOG).glob(f"{version:020d}.checkpoint*"), path / LOG / "_last_checkpoint"]
            sync_all([*made, path / LOG])
            self.checksums.note(made)
            self._load(name)

    def _create(self, name: str, path: Path) -> None:
        schema = TABLES[name].arrow
        partitioned = name in TIME_COLUMNS
        if partitioned:
            schema = schema.append(pa.field(HOUR, pa.string()))
        self._open[name] = DeltaTable.create(path, schema=schema, partition_by=[HOUR] if partitioned else None,
                                             configuration=_KEPT, post_commithook_properties=_BY_HAND)
        self._live[name] = {}
        self._settle(name)
        sync_all([path, path.parent, self.store])

    def _widen(self, name: str) -> None:
        """Give a table of an older store the columns that the contract got later."""
        table = self._open[name]
        has = {field.name for field in table.schema().fields}
        lacking = [field for field in TABLES[name].arrow if field.name not in has]
        if lacking:
            fields: list[Field] = list(DeltaSchema.from_arrow(pa.schema(lacking)).fields)
            table.alter.add_columns(fields, post_commithook_properties=_BY_HAND)
            table.update_incremental()
            self._settle(name)

    @contextmanager
    def _disk(self, name: str) -> Iterator[None]:
        """Names a full disk for what it is."""
        path = table_path(self.store, name)
        try:
            path.mkdir(parents=True, exist_ok=True)
            yield
        except (DeltaError, OSError) as error:
            full = isinstance(error, OSError) and error.errno in FULL
            if full or "No space left" in str(error) or "quota exceeded" in str(error):
                raise StorageFull(f"{path}: the disk takes no more bytes; what was acknowledged is safe in the journal; "
                                  "free some space and run again") from error
            raise


def _partition(file: DataFile) -> dict[str, str | None]:
    return {HOUR: file.hour} if file.hour else {}


def _drop_torn(log: Path, published: int) -> None:
    """Remove a newest log entry that a power loss left empty or cut, when no snapshot was published with it: its rows are in
    the journal still."""
    entries = sorted(log.glob("[0-9]*.json"))
    if entries and int(entries[-1].stem) > published:
        data = entries[-1].read_bytes()
        try:
            for line in data.splitlines():
                json.loads(line)
            torn = not data.strip()
        except ValueError:
            torn = True
        if torn:
            entries[-1].unlink()
            sync_all([log])
