"""Checksums of the files that Delta's log consists of: one line each in the store's file ``checksums``.

Data files carry theirs in their names (``data_files``) and the log says those names; the log itself is what is left to be
summed. A line is ``crc32 size path crc32-of-the-line``, the last line of a path holds. Lines are appended after a file was
synced and are not synced themselves: a crash may cost some, never make one wrong. The owner adds at its start the lines that
are lacking, and takes lines out before it removes their files. A line cut by a crash is not damage.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from collectors.durable import replace_file

NAME = "checksums"


@dataclass(frozen=True, slots=True)
class Noted:
    """``sums``: path below the store -> (bytes, crc32). ``damaged``: numbers of the lines that do not check."""

    sums: dict[str, tuple[int, int]]
    damaged: list[int]


def read_checksums(store: Path) -> Noted:
    """The lines of a store's file; of a missing file, none. Nothing is changed."""
    try:
        data = (store / NAME).read_bytes()
    except FileNotFoundError:
        return Noted({}, [])
    sums: dict[str, tuple[int, int]] = {}
    damaged = []
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        found = _parsed(line)
        if found is None:
            damaged.append(number)
        else:
            sums[found[0]] = found[1:]
    return Noted(sums, damaged)


class Checksums:
    """The file as its owner keeps it."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._path = store / NAME
        if self._path.exists():
            data = self._path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                os.truncate(self._path, whole)
        self._known = read_checksums(store).sums

    def knows(self, path: Path) -> bool:
        """Whether there is a line for a file."""
        return self._below(path) in self._known

    def holds(self, path: Path) -> bool:
        """Whether a file that there is a line for is as the line says."""
        data = path.read_bytes()
        return self._known[self._below(path)] == (len(data), zlib.crc32(data))

    def note(self, paths: Iterable[Path]) -> None:
        """Add a line for each of the files as it is now."""
        lines = bytearray()
        for path in paths:
            data = path.read_bytes()
            self._known[self._below(path)] = (len(data), zlib.crc32(data))
            lines += _line(self._below(path), *self._known[self._below(path)])
        if lines:
            with self._path.open("ab") as file:
                file.write(lines)

    def forget(self, paths: Iterable[Path]) -> None:
        """Write the file anew without the lines of these files, damaged ones and ones that no longer hold."""
        gone = {self._below(path) for path in paths}
        kept = {path: sums for path, sums in read_checksums(self._store).sums.items() if path not in gone}
        replace_file(self._path, b"".join(_line(path, *sums) for path, sums in kept.items()))
        self._known = kept

    def _below(self, path: Path) -> str:
        return path.relative_to(self._store).as_posix()


def _line(path: str, size: int, crc: int) -> bytes:
    head = f"{crc:08x} {size} {path}".encode()
    return head + f" {zlib.crc32(head):08x}\n".encode()


def _parsed(line: bytes) -> tuple[str, int, int] | None:
    head, _, own = line.rpartition(b" ")
    if own != f"{zlib.crc32(head):08x}".encode():
        return None
    crc, size, path = head.decode().split(" ", 2)
    return path, int(size), int(crc, 16)
