"""The store's Delta tables: written by one worker, each commit with the last journal frame that it holds.

Data files and log entries are written here, durable and summed before they are seen: delta-rs syncs nothing, so that after a
power loss its log may name files that are not there, and each of its commits costs 10 to 100 ms of CPU, more with every
commit since the table was loaded; an entry is a few lines of JSON and costs under 1 ms. delta-rs makes the tables, their
checkpoints and changes of columns, and reads them, as any other engine does. An application transaction (journal uuid -> last
frame) says in each entry how far the journal is in; the one worker, which holds the store's lock, keeps to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, Field, PostCommitHookProperties
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError

from collectors.clock import Clock, SystemClock
from collectors.durable import FULL, replace_file, sync_all
from collectors.errors import StorageFull, StoreBusy
from collectors.schema import TABLES
from collectors.snapshot import Snapshot, read_snapshot
from collectors.tables.checksums import Checksums
from collectors.tables.data_files import DataFile, write_data_file
from collectors.tables.hours import HOUR, TIME_COLUMNS, rows_by_hour
from collectors.tables.live_files import FOLDER as FOLDER
from collectors.tables.live_files import HINT, LOG, Hours, fits, live_files_of, log_entry, table_path

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
        self._versions: dict[str, int] = {}
        self._frames: dict[str, int] = {}
        self._lacking: dict[str, list[pa.Field]] = {}
        self._live: dict[str, dict[str, DataFile]] = {}
        published = (read_snapshot(store) or Snapshot(journal)).tables
        for name in TABLES:
            path = table_path(store, name)
            if (path / LOG).is_dir():
                _drop_torn(path / LOG, published.get(name, -1))
                if DeltaTable.is_deltatable(str(path)):
                    self._load(name)
        self._adopt()

    def versions(self) -> dict[str, int]:
        """Name -> version, of the tables that exist."""
        return dict(self._versions)

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
        return self._frames.get(name, 0)

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
        path = table_path(self.store, name)
        entries = [log_entry(path, later) for later in range(version + 1, self._versions.get(name, -1) + 1)]
        sync_all([*entries, path / LOG, path] if entries else [])

    def log_files(self, name: str) -> list[Path]:
        """The entries and checkpoints of a table's log, and the hint which checkpoint is the last, as far as they exist."""
        log = table_path(self.store, name) / LOG
        hint = log / HINT
        return [*sorted(log.glob("*.json")), *sorted(log.glob("*.checkpoint*.parquet")), *([hint] if hint.exists() else [])]

    def _adopt(self) -> None:
        """Sum up what a crash, or an older Flashover, left without a checksum. A hint that is not as noted goes: the log does
        without it, and the crash may have come right after it was written."""
        lost = [path for name in self._versions for path in self.log_files(name)
                if path.name == HINT and self.checksums.knows(path) and not self.checksums.holds(path)]
        if lost:
            self.checksums.forget(lost)
            for path in lost:
                path.unlink()
        self.checksums.note(path for name in self._versions for path in self.log_files(name) if not self.checksums.knows(path))

    def _load(self, name: str) -> None:
        table = DeltaTable(table_path(self.store, name))
        has = {field.name for field in table.schema().fields}
        self._versions[name] = table.version()
        self._frames[name] = table.transaction_version(self._journal) or 0
        self._lacking[name] = [field for field in TABLES[name].arrow if field.name not in has]
        self._live[name] = {file.path: file for file in live_files_of(table, name)}

    def _commit(self, name: str, added: Sequence[DataFile], removed: Sequence[DataFile], *, frame: int | None = None,
                same_rows: bool = False) -> None:
        path, now_ms = table_path(self.store, name), self._clock.now_ns() // 1_000_000
        if name not in self._versions:
            self._create(name, path)
        elif added and self._lacking[name]:
            self._widen(name, path)
        actions: list[dict[str, object]] = [
            {"commitInfo": {"timestamp": now_ms, "operation": "OPTIMIZE" if same_rows else "WRITE"}}]
        actions += [{"add": {"path": file.path, "partitionValues": _partition(file), "size": file.size,
                             "modificationTime": now_ms, "dataChange": not same_rows, "stats": file.statistics(name)}}
                    for file in added]
        actions += [{"remove": {"path": file.path, "deletionTimestamp": now_ms, "dataChange": not same_rows,
                                "extendedFileMetadata": True, "partitionValues": _partition(file), "size": file.size}}
                    for file in removed]
        if frame is not None:
            actions.append({"txn": {"appId": self._journal, "version": frame, "lastUpdated": now_ms}})
        version = self._versions[name] + 1
        entry = log_entry(path, version)
        if entry.exists():
            raise StoreBusy(f"{entry}: was written by another process; one store has one collector")
        replace_file(entry, b"".join(json.dumps(action).encode() + b"\n" for action in actions))
        self._versions[name] = version
        self._frames[name] = self._frames[name] if frame is None else frame
        live = self._live[name]
        for file in removed:
            del live[file.path]
            self.retired.append((name, version, file.path))
        live.update({file.path: file for file in added})
        self.checksums.note([entry])
        if version % CHECKPOINT_EVERY == 0:
            DeltaTable(path).create_checkpoint()
            made = [*(path / LOG).glob(f"{version:020d}.checkpoint*"), path / LOG / HINT]
            sync_all([*made, path / LOG])
            self.checksums.note(made)

    def _create(self, name: str, path: Path) -> None:
        schema = TABLES[name].arrow
        partitioned = name in TIME_COLUMNS
        if partitioned:
            schema = schema.append(pa.field(HOUR, pa.string()))
        DeltaTable.create(path, schema=schema, partition_by=[HOUR] if partitioned else None, configuration=_KEPT,
                          post_commithook_properties=_BY_HAND)
        self._load(name)
        self._settle(path, 0)
        sync_all([path, path.parent, self.store])

    def _widen(self, name: str, path: Path) -> None:
        """Give a table of an older store the columns that the contract got later."""
        fields: list[Field] = list(DeltaSchema.from_arrow(pa.schema(self._lacking[name])).fields)
        DeltaTable(path).alter.add_columns(fields, post_commithook_properties=_BY_HAND)
        self._load(name)
        self._settle(path, self._versions[name])

    def _settle(self, path: Path, version: int) -> None:
        """Sync and sum up a log entry that delta-rs wrote."""
        entry = log_entry(path, version)
        sync_all([entry, path / LOG])
        self.checksums.note([entry])

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
