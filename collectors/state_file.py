"""What decoding remembers of the series, on disk: each round appends what it changed, the snapshot says how far that holds.

A busy fleet has tens of thousands of histograms, of which a round sees some: writing all of them each second would cost a
tenth of a core and make every reader of the snapshot read them. A line of the file is one round's changes, JSON of series id
-> entry; a later line wins. Bytes beyond those that the snapshot names are of a round that was not published, and are cut. When
the file has grown far beyond what it says, the whole state begins a new one; the old goes after the snapshot names the new.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collectors.decode.series_state import SeriesState
from collectors.durable import replace_file
from collectors.errors import StoreUnreadable

PREFIX = "series-state-"
_GROWN, _LEAST_BYTES = 8, 1 << 16
"""A file is begun anew when it is so many times as large as its first line was, and has so many bytes."""

Told = dict[str, Any]
"""What a snapshot says of the file: ``name``, ``bytes`` that hold, their ``crc32``, bytes of the ``first`` line."""


def read_state(store: Path, told: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Series id -> entry, as ``SeriesState.save`` gives them; none where ``told`` is empty. StoreUnreadable: it is not so."""
    if not told:
        return {}
    path = store / told["name"]
    try:
        with path.open("rb") as file:
            data = file.read(told["bytes"])
    except OSError as error:
        raise StoreUnreadable(f"{path}: which the snapshot names cannot be read ({error.strerror}); {_REMEDY}") from error
    if len(data) != told["bytes"] or zlib.crc32(data) != told["crc32"]:
        raise StoreUnreadable(f"{path}: its first {told['bytes']} bytes are not those that the snapshot names; {_REMEDY}")
    state: dict[str, list[Any]] = {}
    for line in data.splitlines():
        state |= json.loads(line)
    return state


_REMEDY = "restore the file from a copy, or replay into a new folder"


class StateFile:
    """The file as the store's worker keeps it. ``told``: what the published snapshot says of it."""

    def __init__(self, store: Path, told: Mapping[str, Any]) -> None:
        self._store = store
        self._told: Told = dict(told)
        if told:
            os.truncate(store / told["name"], told["bytes"])

    def save(self, state: SeriesState) -> Told:
        """Make what changed since the last call durable; returns what the next snapshot has to say. The last snapshot that was
        told so is published by now."""
        changed = state.changed()
        if not changed:
            return self._told
        told = self._told
        if not told or told["bytes"] > max(_GROWN * told["first"], _LEAST_BYTES):
            return self._begin(state)
        self._remove_others()
        line = json.dumps(changed).encode() + b"\n"
        with (self._store / told["name"]).open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._told = told | {"bytes": told["bytes"] + len(line), "crc32": zlib.crc32(line, told["crc32"])}
        return self._told

    def _begin(self, state: SeriesState) -> Told:
        number = int(self._told["name"].removeprefix(PREFIX)) + 1 if self._told else 1
        line = json.dumps(state.save()).encode() + b"\n"
        name = f"{PREFIX}{number:08d}"
        replace_file(self._store / name, line)
        self._told = {"name": name, "bytes": len(line), "crc32": zlib.crc32(line), "first": len(line)}
        return self._told

    def _remove_others(self) -> None:
        for path in self._store.glob(f"{PREFIX}*"):
            if path.name != self._told["name"]:
                path.unlink()
