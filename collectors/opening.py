"""A telemetry folder is made or found, owned by one process, and its journal brought to a state to go on from."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from collectors.clock import Clock
from collectors.durable import FULL, sync_all
from collectors.errors import BadInput, StorageFull
from collectors.frames import Place
from collectors.journal import ROTATE_BYTES, Journal, Write
from collectors.ownership import Ownership
from collectors.recent_bodies import FOLDER as JOURNAL_FOLDER
from collectors.recovery import cut_damage, read_journal, sync_unpublished
from collectors.snapshot import Snapshot, read_identity, read_snapshot, write_identity
from collectors.tables.delta_tables import FOLDER as TABLES_FOLDER
from collectors.tables.delta_tables import DeltaTables

WRITER_ENDS_S = 30.0
"""So long a new owner waits for the worker of a killed one to end."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The journal, ready for new frames, the published snapshot and the tables as they are."""

    journal: Journal
    snapshot: Snapshot
    tables: DeltaTables


def own(store: Path) -> Ownership:
    """Make the folder a store where it is none, and own it. Raises StoreBusy, StoreUnreadable, BadInput, StorageFull."""
    _prepare_folder(store)
    return Ownership(store)


def recover_journal(store: Path, rotate_bytes: int = ROTATE_BYTES, write: Write = os.write,
                    clock: Clock | None = None) -> Recovered:
    """Bring an owned store, whose tables nobody writes, to where it goes on: damage is said and cut, commits are durable."""
    identity = read_identity(store)
    assert identity is not None
    snapshot = read_snapshot(store) or Snapshot(identity)
    tables = DeltaTables(store, identity)
    sync_unpublished(tables, snapshot)
    found = read_journal(store, uuid.UUID(identity))
    news = [sentence for sentence in found.damage if sentence not in snapshot.damage]
    if news:
        snapshot.damage += news
        snapshot.publish(store)
    cut_damage(found)
    places: list[Place] = [place for place in found.places if place.seq > snapshot.seq]
    older = [place for place in found.places if place.seq <= snapshot.seq]
    next_seq = 1 + max([snapshot.seq, *(place.seq for place in found.places),
                        *(tables.last_frame(name) for name in tables.versions())])
    journal = Journal(store, uuid.UUID(identity), next_seq, places, older=older, rotate_bytes=rotate_bytes, write=write,
                      clock=clock)
    return Recovered(journal, snapshot, tables)


def _prepare_folder(store: Path) -> None:
    if store.exists() and not store.is_dir():
        raise BadInput(f"{store}: is a file; give a folder for the store")
    if read_identity(store) is None and store.is_dir() and any(store.iterdir()):
        raise BadInput(f"{store}: holds other files and is no telemetry store; give a new or empty folder")
    try:
        for folder in (store, store / JOURNAL_FOLDER, store / TABLES_FOLDER):
            folder.mkdir(parents=True, exist_ok=True)
        if read_identity(store) is None:
            write_identity(store, str(uuid.uuid4()))
            sync_all([store, store.absolute().parent])
    except OSError as error:
        kind = StorageFull if error.errno in FULL else BadInput
        raise kind(f"{store}: cannot be made a store: {error.strerror}; give a folder that this user can write to") from error
    for folder in (store, store / JOURNAL_FOLDER, store / TABLES_FOLDER, *(store / TABLES_FOLDER).iterdir()):
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            raise BadInput(f"{folder}: this user cannot write to it, or the disk is read-only; make it writable, or give "
                           "another store")
