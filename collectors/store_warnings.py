"""What a reader of a store should know about it: said in one sentence each, found without changing anything."""

from __future__ import annotations

import uuid
from pathlib import Path

import duckdb

from collectors.errors import StoreUnreadable
from collectors.ownership import is_owned
from collectors.recovery import read_journal
from collectors.snapshot import Snapshot

BEING_WRITTEN = "the store is being written"
"""How the one warning begins that is no finding."""


def folder_warnings(store: Path, identity: str, snapshot: Snapshot, *, published: bool) -> list[str]:
    """Damage written down or found now, frames that are not in the tables, columns that were not understood.

    While a live process writes the store, its journal is its own affair: only that it is open is said. Raises
    StoreUnreadable for a journal whose frames were never decoded and that nobody works on.
    """
    warnings = list(snapshot.damage)
    if is_owned(store):
        warnings.append(f"{BEING_WRITTEN}; this shows what was decoded up to frame {snapshot.seq}")
    else:
        found = read_journal(store, uuid.UUID(identity))
        warnings += [sentence for sentence in found.damage if sentence not in warnings]
        late = [place.seq for place in found.places if place.seq > snapshot.seq]
        if late and not published:
            raise StoreUnreadable(f"{store}: is half-written: {len(late)} journal frames and no table yet; take them in with "
                                  f"`flashover store recover {store}`")
        if late:
            warnings.append(f"{len(late)} journal frames ({late[0]} to {late[-1]}) are not decoded yet; take them in with "
                            f"`flashover store recover {store}`")
    for name, times in sorted(snapshot.ignored_columns.items()):
        warnings.append(f"column {name!r} of {times} step bodies is not in the contract and was left out")
    return warnings


def reject_warning(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """One sentence when bodies, or records of them, could not be decoded."""
    rows = connection.execute("SELECT signal, count(*), min(reason) FROM rejects GROUP BY signal ORDER BY signal").fetchall()
    return [f"{count} {signal} records could not be decoded and lie in the table rejects (for example: {reason})"
            for signal, count, reason in rows]
