"""The append-only journal: what is synced here is never lost, and never trusted without its checksum.

Files are named by their first sequence number, ``journal/00000000000000000001.wal``. Writing is buffered; ``sync``
writes what is buffered and calls ``fdatasync`` once. A file goes away only after its frames are in the tables.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard

from collectors.durable import FULL, sync_path
from collectors.errors import StorageFull
from collectors.frames import HEADER_BYTES, Place, Scan, decode, encode, file_header, scan
from collectors.sink import Signal

FOLDER = "journal"
ROTATE_BYTES = 64 << 20
_BUFFER_BYTES = 1 << 20

Write = Callable[[int, memoryview], int]


def journal_files(store: Path) -> list[Path]:
    """The journal's files in order of their sequence numbers; empty when there are none."""
    return sorted((store / FOLDER).glob("*.wal"))


def scan_all(store: Path, journal: uuid.UUID) -> list[Scan]:
    """Scan every journal file in order. Nothing is changed on disk."""
    scans: list[Scan] = []
    last = 0
    for path in journal_files(store):
        scans.append(scan(path, journal, last))
        if scans[-1].places:
            last = scans[-1].places[-1].seq
    return scans


class Journal:
    """Writes frames numbered from ``next_seq``; knows where every frame lies that the tables do not have yet.

    ``places``: intact frames found by recovery. ``write`` is os.write, or what a test puts in its stead.
    """

    def __init__(self, store: Path, journal: uuid.UUID, next_seq: int, places: list[Place], *,
                 rotate_bytes: int = ROTATE_BYTES, write: Write = os.write) -> None:
        self.uuid = journal
        self.folder = store / FOLDER
        self.synced_seq = next_seq - 1
        self._next_seq = next_seq
        self._places = list(places)
        self._rotate_bytes = rotate_bytes
        self._write = write
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._buffer = bytearray()
        self._pending: list[Place] = []
        self._file: int | None = None
        self._path = self.folder
        self._size = 0
        self._synced_size = 0

    def put(self, signal: Signal, body: bytes) -> int:
        """Append one body and return its sequence number; durable only after ``sync``. StorageFull as in ``sync``."""
        try:
            if self._file is None:
                self._start_file()
            frame = encode(self.uuid, self._next_seq, signal, body, self._compressor)
            self._pending.append(Place(self._next_seq, signal, self._path, self._size, len(frame)))
            self._buffer += frame
            self._size += len(frame)
            self._next_seq += 1
            if len(self._buffer) > _BUFFER_BYTES:
                self._flush()
        except OSError as error:
            self._abandon(error)
            raise
        return self._next_seq - 1

    def sync(self) -> None:
        """Make every frame put so far durable.

        Raises StorageFull when the disk takes no more: the frames put since the last sync are cut away again and must
        be put once more; everything synced before is intact.
        """
        if self._file is None or not self._pending:
            return
        try:
            self._flush()
            os.fdatasync(self._file)
        except OSError as error:
            self._abandon(error)
            raise
        self._places += self._pending
        self.synced_seq = self._pending[-1].seq
        self._pending.clear()
        self._synced_size = self._size
        if self._size >= self._rotate_bytes:
            self._end_file()

    def read(self, after_seq: int) -> Iterator[tuple[Place, bytes | None]]:
        """Synced frames numbered above ``after_seq``, in order, with their plain bodies; None for one that went bad."""
        for place in [p for p in self._places if p.seq > after_seq]:
            with place.path.open("rb", buffering=0) as file:
                data = os.pread(file.fileno(), place.size, place.offset)
            try:
                seq, _, body = decode(self.uuid, data)
            except ValueError:
                yield place, None
                continue
            yield place, body if seq == place.seq else None

    def drop_through(self, seq: int) -> None:
        """Remove the files whose frames are all numbered up to ``seq``: the tables have them, and are synced.

        The file being written is ended and removed only when it has grown past an eighth of the rotation size.
        """
        self._places = [p for p in self._places if p.seq > seq]
        if self._size >= self._rotate_bytes // 8 and not self._pending and self.synced_seq <= seq:
            self._end_file()
        keep = {p.path for p in self._places} | ({self._path} if self._file is not None else set())
        for path in sorted(self.folder.glob("*.wal")):
            if path not in keep:
                path.unlink()

    def close(self) -> None:
        """Stop writing. Frames that were put but not synced are given up, as a crash would."""
        self._buffer.clear()
        self._pending.clear()
        self._end_file()

    def _start_file(self) -> None:
        self._path = self.folder / f"{self._next_seq:020d}.wal"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._size = self._synced_size = 0
        self._buffer += file_header(self.uuid, self._next_seq)
        self._size = HEADER_BYTES
        self._flush()
        os.fdatasync(self._file)
        sync_path(self.folder)
        self._synced_size = HEADER_BYTES

    def _end_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._size = self._synced_size = 0

    def _flush(self) -> None:
        assert self._file is not None
        view = memoryview(bytes(self._buffer))
        while view:
            view = view[self._write(self._file, view):]
        self._buffer.clear()

    def _abandon(self, error: OSError) -> None:
        """Cut the file back to what was synced, forget what was not, and name a full disk for what it is."""
        self._buffer.clear()
        self._pending.clear()
        self._next_seq = self.synced_seq + 1
        if self._file is not None:
            os.ftruncate(self._file, self._synced_size)
            os.lseek(self._file, self._synced_size, os.SEEK_SET)
            self._size = self._synced_size
            if self._size == 0:
                self._end_file()
                self._path.unlink(missing_ok=True)
        if error.errno in FULL:
            raise StorageFull(f"{self.folder}: the disk takes no more bytes ({error.strerror}); frames up to "
                              f"{self.synced_seq} are safe; free some space and run again") from error
