"""The snapshot: one small file that says what readers may see, replaced as a whole after each round of decoding.

It names the version of every Delta table, the last journal frame that is in them, the hours whose ``requests`` are
materialised, and whatever damage was found. It also carries the state that decoding the next frame needs, so that a
restart decodes every later frame exactly as it would have been.
"""

from __future__ import annotations

import json
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
    read from the ``requests`` table. ``watermark_ns``: latest event time seen. ``series_state``: series id ->
    cumulative state of histograms and delta sums. ``damage``: one sentence for each damage found so far.
    ``ignored_columns``: unknown columns of step bodies -> times seen. ``sample_watermark_ns``, ``rolled_hours``: as
    ``watermark_ns`` and ``clean_hours``, of samples and ``rollups``. ``removed``: what retention took away so far:
    hours, rows, bytes."""

    journal: str
    seq: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    clean_hours: list[str] = field(default_factory=list)
    watermark_ns: int = 0
    series_state: dict[str, list[Any]] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    ignored_columns: dict[str, int] = field(default_factory=dict)
    rolled_hours: list[str] = field(default_factory=list)
    sample_watermark_ns: int = 0
    removed: dict[str, int] = field(default_factory=dict)

    def publish(self, store: Path) -> None:
        """Replace the store's snapshot file; durable when this returns."""
        content = {"format": FORMAT, "schema_version": SCHEMA_VERSION, **asdict(self)}
        replace_file(store / SNAPSHOT_NAME, json.dumps(content).encode())


def write_identity(store: Path, journal: str) -> None:
    """Mark a folder as a store, with the uuid of its journal. Done once, before the first frame."""
    replace_file(store / IDENTITY_NAME,
                 json.dumps({"format": FORMAT, "schema_version": SCHEMA_VERSION, "journal": journal}).encode())


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
        known = {name: content[name] for name in Snapshot.__dataclass_fields__
                 if name in content or name in ("seq", "tables")}  # a store may be older than the other fields
        return Snapshot(**known)
    except KeyError as error:
        raise StoreUnreadable(f"{path}: key {error} is missing; {_REMEDY}") from error


_REMEDY = "restore the file from a copy, or replay into a new folder"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise StoreUnreadable(f"{path}: cannot be read ({error}); {_REMEDY}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "journal" not in content:
        raise StoreUnreadable(f"{path}: is not a Flashover store's file; {_REMEDY}")
    check_version(path, content.get("schema_version"))
    return content


def check_version(path: Path, version: object) -> None:
    """StoreUnreadable when a store's schema version is newer than this Flashover's, or no version at all."""
    if not isinstance(version, int) or version < 1:
        raise StoreUnreadable(f"{path}: schema version {version!r} is none; {_REMEDY}")
    if version > SCHEMA_VERSION:
        raise StoreUnreadable(f"{path}: schema version {version} is newer than {SCHEMA_VERSION}, which this Flashover "
                              "reads; install a newer Flashover")
