"""Opening a store that was left at any point: what the journal still holds, and what a restarted worker must remember."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import duckdb

from collectors.decode.edges import MEMORY_SPANS, SpanMemory
from collectors.durable import sync_path
from collectors.frames import Place, Scan
from collectors.journal import scan_all
from collectors.live_views import create_view, live_files
from collectors.schema import TABLES
from collectors.snapshot import Snapshot
from collectors.tables.delta_tables import DeltaTables


@dataclass(frozen=True, slots=True)
class JournalState:
    """``places``: intact frames. ``damage``: one sentence for each damaged file. ``scans``: as they were found."""

    places: list[Place]
    damage: list[str]
    scans: list[Scan]


def read_journal(store: Path, journal: uuid.UUID) -> JournalState:
    """Scan the journal without changing it."""
    scans = scan_all(store, journal)
    places = [place for found in scans for place in found.places]
    damage: list[str] = []
    last = 0
    for found in scans:
        last = found.places[-1].seq if found.places else last
        if found.damage:
            lost = found.size - found.good_bytes
            damage.append(f"journal {found.path.name}: {found.damage}; {lost} of {found.size} bytes after byte "
                          f"{found.good_bytes} were dropped, frames up to {last} are intact")
    return JournalState(places, damage, scans)


def cut_damage(state: JournalState) -> None:
    """Cut every damaged file back to its intact frames. Call it only after the damage has been written down.

    A file without any frame goes: a crash may have come right after its start, and its name is the next frame's. What
    stays is synced: its last frames may have been written but not synced when the process died.
    """
    for found in state.scans:
        if not found.places:
            found.path.unlink()
            continue
        if found.damage and found.good_bytes < found.size:
            with found.path.open("r+b") as file:
                file.truncate(found.good_bytes)
        sync_path(found.path)


def sync_unpublished(tables: DeltaTables, snapshot: Snapshot) -> None:
    """Make commits durable that were written after the last snapshot: a crash may have come before their sync."""
    for name in TABLES:
        tables.sync_since(name, snapshot.tables.get(name, -1))


def known_series(connection: duckdb.DuckDBPyConnection, tables: DeltaTables) -> set[int]:
    """Ids of the series in the dictionary."""
    create_view(connection, "series", "series", tables.files("series"))
    return {row[0] for row in connection.execute("SELECT DISTINCT series_id FROM series").fetchall()}


def recent_spans(connection: duckdb.DuckDBPyConnection, store: Path, snapshot: Snapshot, memory: SpanMemory) -> None:
    """Give ``memory`` the last spans of the snapshot, in the order of their frames."""
    create_view(connection, "spans", "spans", live_files(store, "spans", snapshot.tables.get("spans")))
    rows = connection.execute(
        "SELECT frame, span_id, parent_id, entity, start_ns FROM spans "
        f"ORDER BY frame DESC, start_ns DESC, span_id DESC LIMIT {MEMORY_SPANS}").fetchall()
    for frame, span_id, parent_id, entity, start_ns in reversed(rows):
        memory.meet(frame, span_id, parent_id, entity, start_ns, lambda *_: None)
