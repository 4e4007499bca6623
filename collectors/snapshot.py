"""The snapshot: one small file that says what readers may see, replaced as a whole after each round of decoding.

It names the version of every Delta table, the last journal frame that is in them, the hours whose ``requests`` are
materialised, and whatever damage was found. It also carries the state that decoding the next frame needs, so that a
restart decodes every later frame exactly as it would have been.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from collectors.durable import replace_file
from collectors.errors import StoreUnreadable
from collectors.schema import SCHEMA_VERSION

SNAPSHOT_NAME = "snapshot.json"
IDENTITY_NAME = "store.json"
FORMAT = "flashover-store"


@dataclass(slots=True)
class Snapshot:
    """``seq``: last frame in the tables. ``tables``: name -> Delta version. ``clean_hours``: hours whose attempts are
    read from the ``requests`` table. ``watermark_ns``: latest event time seen. ``series_file``: which file holds the
    cumulative state of histograms and delta sums, and how far (``state_file.py``); an earlier Flashover kept it in
    ``series_state``: series id -> state. ``damage``: one sentence for each damage found so far.
    ``ignored_columns``: unknown columns of step bodies -> times seen. ``drops``: reason of ``limits.py`` -> times.
    ``sample_watermark_ns``, ``rolled_hours``: as ``watermark_ns`` and ``clean_hours``, of samples and ``rollups``.
    ``removed``: what retention took away so far: hours, rows, bytes."""

    journal: str
    seq: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    clean_hours: list[str] = field(default_factory=list)
    watermark_ns: int = 0
    series_state: dict[str, list[Any]] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    ignored_columns: dict[str, int] = field(default_factory=dict)
    drops: dict[str, int] = field(default_factory=dict)
    rolled_hours: list[str] = field(default_factory=list)
    sample_watermark_ns: int = 0
    removed: dict[str, int] = field(default_factory=dict)
    series_file: dict[str, Any] = field(default_factory=dict)

    def publish(self, store: Path) -> None:
        """Replace the store's snapshot file; durable when this returns."""
        replace_file(store / SNAPSHOT_NAME, _summed({"format": FORMAT, "schema_version": SCHEMA_VERSION, **asdict(self)}))


def write_identity(store: Path, journal: str) -> None:
    """Mark a folder as a store, with the uuid of its journal. Done once, before the first frame."""
    replace_file(store / IDENTITY_NAME, _summed({"format": FORMAT, "schema_version": SCHEMA_VERSION, "journal": journal}))


def read_identity(store: Path) -> str | None:
    """The uuid of the store's journal; None when the folder is not marked as a store. StoreUnreadable if damaged."""
    content = _read(store / IDENTITY_NAME)
    return None if content is None else str(content["journal"])


def read_snapshot(store: Path) -> Snapshot | None:
    """The published snapshot; None before the first. StoreUnreadable when damaged or of a newer schema."""
    path = store / SNAPSHOT_NAME
    content = _read(path)
    if content is None:
        return None
    try:
        known = {name: content[name] for name in Snapshot.__dataclass_fields__ if name in content or name not in _ADDED}
        return Snapshot(**known)
    except KeyError as error:
        raise StoreUnreadable(f"{path}: key {error} is missing; {_REMEDY}") from error


_ADDED = frozenset({"drops", "rolled_hours", "sample_watermark_ns", "removed", "series_state", "series_file"})
"""Keys that a snapshot of an earlier Flashover lacks."""

_REMEDY = "restore the file from a copy, or replay into a new folder"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = path.read_bytes()
        content = json.loads(data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        remedy = "let this user read it" if isinstance(error, PermissionError) else _REMEDY
        raise StoreUnreadable(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except ValueError as error:
        raise StoreUnreadable(f"{path}: cannot be read ({error}); {_REMEDY}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "journal" not in content:
        raise StoreUnreadable(f"{path}: is not a Flashover store's file; {_REMEDY}")
    check_version(path, content.get("schema_version"))
    if not _sum_holds(data, content):
        raise StoreUnreadable(f"{path}: its checksum does not hold, so it was changed or damaged; {_REMEDY}")
    return content


def _summed(content: dict[str, Any]) -> bytes:
    """The content as JSON whose last key is the crc32 of what comes before."""
    head = json.dumps(content).encode()[:-1]
    return head + b', "crc32": %d}' % zlib.crc32(head)


def _sum_holds(data: bytes, content: dict[str, Any]) -> bool:
    head, found, tail = data.rpartition(b', "crc32": ')
    if found:
        return tail == b"%d}" % zlib.crc32(head)
    return content.keys() <= {"format", "schema_version", *Snapshot.__dataclass_fields__}  # of an earlier Flashover


def check_version(path: Path, version: object) -> None:
    """StoreUnreadable when a store's schema version is newer than this Flashover's, or no version at all."""
    if not isinstance(version, int) or version < 1:
        raise StoreUnreadable(f"{path}: schema version {version!r} is none; {_REMEDY}")
    if version > SCHEMA_VERSION:
        raise StoreUnreadable(f"{path}: schema version {version} is newer than {SCHEMA_VERSION}, which this Flashover "
                              "reads; install a newer Flashover")
