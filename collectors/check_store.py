"""Checking a store to the last byte: what is damaged, which rows that touches, and what to do about it.

Every byte that a reader relies on has a checksum: data files in their names, the log in the file ``checksums``, the snapshot
and the store's mark in their last key, journal frames in their heads. Files of older stores have fewer; theirs are compared
with what the log says, size and rows, and read to their footers. Nothing is changed, and a live writer is no obstacle.
"""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError

from collectors.clock import iso
from collectors.errors import StoreUnreadable
from collectors.merged_views import size_of
from collectors.ownership import is_owned
from collectors.recent_bodies import FOLDER as FOLDER_OF_JOURNAL
from collectors.recovery import read_journal
from collectors.schema import TABLES
from collectors.snapshot import Snapshot, read_identity, read_snapshot
from collectors.state_file import PREFIX, read_state
from collectors.tables.checksums import NAME as CHECKSUMS
from collectors.tables.checksums import read_checksums
from collectors.tables.data_files import DataFile, checksum_of
from collectors.tables.hours import HOUR_NS
from collectors.tables.live_files import FOLDER, HINT, LOG, log_entry, read_live_files, table_path

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """``path``: the damaged file. ``state``: what is wrong with it. ``touches``: which rows. ``remedy``: what to do."""

    path: str
    state: str
    touches: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.state}; {self.touches}; {self.remedy}"

    def to_json(self) -> dict[str, str]:
        """The finding by key."""
        return asdict(self)


def check_store(store: Path) -> list[Finding]:
    """All damage of a telemetry folder; none when it is whole. A folder that is none at all: StoreUnreadable."""
    try:
        identity = read_identity(store)
        snapshot = read_snapshot(store)
    except StoreUnreadable as error:
        path, _, state = str(error).partition(": ")
        return [Finding(path, state.partition("; ")[0], "no table can be read", _FROM_COPY)]
    if identity is None:
        raise StoreUnreadable(f"{store}: is no store (it has no store.json); give one that a replay or an intake made")
    found = list(_log_damage(store))
    if snapshot is None:
        tables = [name for name in TABLES if (table_path(store, name) / LOG).is_dir()]
        if tables and not is_owned(store):
            found.append(Finding(str(store / "snapshot.json"), "is missing", f"readers see none of {', '.join(tables)}",
                                 f"`flashover store recover {store}`"))
        snapshot = Snapshot(identity)
    elif snapshot.journal != identity:
        found.append(Finding(str(store / "snapshot.json"), f"is of journal {snapshot.journal}, store.json of {identity}",
                             "no table can be read", _FROM_COPY))
    for name, version in snapshot.tables.items():
        found += _table_damage(store, name, version)
    found += _state_damage(store, snapshot)
    if (snapshot.tables or snapshot.series_file) and found:
        found = _still_true(store, snapshot, found)
    return found + _journal_damage(store, identity)


_FROM_COPY = "restore the file from a copy"


def _state_damage(store: Path, snapshot: Snapshot) -> Iterator[Finding]:
    try:
        read_state(store, snapshot.series_file)
    except StoreUnreadable as error:
        path, _, state = str(error).partition(": ")
        yield Finding(path, state.partition("; ")[0], "no row, but nothing more can be taken in", _FROM_COPY)


def _log_damage(store: Path) -> Iterator[Finding]:
    noted = read_checksums(store)
    for number in noted.damaged:
        yield Finding(str(store / CHECKSUMS), f"line {number} is damaged",
                      "the log of one table cannot be checked in part", _FROM_COPY)
    for below, (size, crc) in sorted(noted.sums.items()):
        path = store / below
        table = Path(below).parts[1] if below.startswith(f"{FOLDER}/") else below
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            if below not in read_checksums(store).sums:  # a live writer has removed it since
                continue
            yield Finding(str(path), "is missing", f"rows of {table} that this part of its log names", _FROM_COPY)
            continue
        if len(data) == size and zlib.crc32(data) == crc:
            continue
        if read_checksums(store).sums.get(below) != (size, crc) or (path.name == HINT and _is_newer(path, data, noted.sums)):
            continue
        state = f"has {len(data)} bytes instead of {size}" if len(data) != size else "its checksum does not hold"
        yield Finding(str(path), state, f"rows of {table} that this part of its log names", _FROM_COPY)


def _is_newer(hint: Path, data: bytes, noted: Iterable[str]) -> bool:
    """Whether a crash came between a checkpoint and its checksum: the hint is whole then, and names a checkpoint without."""
    try:
        version = int(json.loads(data)["version"])
    except (ValueError, KeyError, TypeError):
        return False
    named = hint.with_name(f"{version:020d}.checkpoint.parquet")
    return named.exists() and not any(path.endswith(f"{hint.parent.parent.name}/{LOG}/{named.name}") for path in noted)


def _table_damage(store: Path, name: str, version: int) -> Iterator[Finding]:
    path = table_path(store, name)
    if name not in TABLES:
        yield Finding(str(store / "snapshot.json"), f"names the unknown table {name!r}", "no table can be read", _FROM_COPY)
        return
    yield from _gaps(path, name, version)
    try:
        files = read_live_files(store, name, version)
    except (DeltaError, OSError, ValueError) as error:
        yield Finding(str(path / LOG), f"version {version}, which the snapshot names, cannot be read "
                      f"({' '.join(str(error).split())})", f"all rows of {name}", "restore the table's folder from a copy")
        return
    for file in files:
        state = _file_state(path / file.path, file)
        if state is not None:
            yield Finding(str(path / file.path), state, _rows_of(name, file), _FROM_COPY)


def _gaps(table: Path, name: str, version: int) -> Iterator[Finding]:
    """Log entries that the version needs and that are not there."""
    checkpoints = [int(path.name[:20]) for path in (table / LOG).glob("*.checkpoint*.parquet")]
    first = max((at for at in checkpoints if at <= version), default=-1) + 1
    for needed in range(first, version + 1):
        if not log_entry(table, needed).exists():
            yield Finding(str(log_entry(table, needed)), "is missing", f"rows of {name} from version {needed} on", _FROM_COPY)


def _file_state(path: Path, file: DataFile) -> str | None:
    """What is wrong with a data file; None when nothing is."""
    size = size_of(path)
    if size is None:
        return "is missing"
    if size != file.size:
        return f"has {size} bytes instead of {file.size}"
    summed = checksum_of(file.path)
    if summed is not None and _crc_of(path) != summed:
        return "its checksum does not hold"
    try:
        with pq.ParquetFile(path) as parquet:
            rows = parquet.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        return f"its footer cannot be read ({' '.join(str(error).split())})"
    return None if rows == file.rows else f"has {rows} rows, and the log says {file.rows}"


def _crc_of(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc


def _rows_of(name: str, file: DataFile) -> str:
    when = f" of {file.hour}" if file.hour else ""
    if file.first_ns is not None and file.last_ns is not None and file.last_ns - file.first_ns < HOUR_NS:
        when += f", {iso(file.first_ns)} to {iso(file.last_ns)}"
    return f"{file.rows} rows of {name}{when}"


def _still_true(store: Path, checked: Snapshot, found: list[Finding]) -> list[Finding]:
    """Without what a writer has taken out and deleted since the snapshot was read."""
    now = read_snapshot(store)
    if now is not None and now.series_file != checked.series_file:
        found = [finding for finding in found if not Path(finding.path).name.startswith(PREFIX)]
    if now is None or now.tables == checked.tables:
        return found
    live = {str(table_path(store, name) / file.path) for name, version in now.tables.items()
            for file in read_live_files(store, name, version)}
    return [finding for finding in found if not finding.path.endswith(".parquet") or f"/{LOG}/" in finding.path
            or finding.path in live]


def _journal_damage(store: Path, identity: str) -> list[Finding]:
    """Of a journal that nobody writes to: the last frame of a live one is always being written."""
    if is_owned(store):
        return []
    found = []
    for sentence in read_journal(store, uuid.UUID(identity)).damage:
        name, _, state = sentence.removeprefix("journal ").partition(": ")
        found.append(Finding(str(store / FOLDER_OF_JOURNAL / name), state, "frames after the last intact one",
                             f"`flashover store recover {store}` takes in the intact ones"))
    return found
