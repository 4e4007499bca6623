"""The append-only journal: what is synced here is never lost, and never trusted without its checksum.

Files are named by their first sequence number, ``journal/00000000000000000001.wal``. Writing is buffered; ``sync``
writes what is buffered and calls ``fdatasync`` once. A file goes away only after its frames are in the tables; the
digests of its frames stay for a while in a small file, so that a sender's late retry is known (``recent_bodies.py``).
"""

from __future__ import annotations

import errno
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

import zstandard

from collectors.clock import Clock, SystemClock
from collectors.durable import FULL, sync_path
from collectors.errors import StorageFull
from collectors.frames import HEADER_BYTES, NO_DIGEST, Place, Scan, decode, encode, file_header, scan
from collectors.recent_bodies import FOLDER, keep_digests
from collectors.sink import Signal

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


def read_frames(journal: uuid.UUID, places: Iterable[Place]) -> Iterator[tuple[Place, bytes | None]]:
    """The frames at ``places`` with their plain bodies; None for one that went bad."""
    for path, there in groupby(places, lambda place: place.path):
        with path.open("rb", buffering=0) as file:
            for place in there:
                try:
                    seq, _, body = decode(journal, os.pread(file.fileno(), place.size, place.offset))
                except ValueError:
                    yield place, None
                    continue
                yield place, body if seq == place.seq else None


class Journal:
    """Writes frames numbered from ``next_seq``; knows where every frame lies that the tables do not have yet.

    ``places``: intact frames found by recovery. ``older``: frames of the same files that the tables have already.
    ``write`` is os.write, or what a test puts in its stead.
    """

    def __init__(self, store: Path, journal: uuid.UUID, next_seq: int, places: list[Place], *,
                 older: Iterable[Place] = (), rotate_bytes: int = ROTATE_BYTES, write: Write = os.write,
                 clock: Clock | None = None) -> None:
        self.uuid = journal
        self.folder = store / FOLDER
        self.synced_seq = next_seq - 1
        self.waiting_bytes = sum(place.size for place in places)
        self.places = deque(places)
        self._next_seq = next_seq
        self._rotate_bytes = rotate_bytes
        self._write = write
        self._clock = clock or SystemClock()
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._buffer = bytearray()
        self._pending: list[Place] = []
        self._held: dict[Path, list[tuple[int, bytes]]] = {}
        for place in [*older, *places]:
            self._hold(place)
        self._file: int | None = None
        self._path = self.folder
        self._size = 0
        self._synced_size = 0
        self._uncut = False

    def put(self, signal: Signal, body: bytes, digest: bytes = NO_DIGEST, *, is_packed: bool = False) -> int:
        """Append one body and return its sequence number; durable only after ``sync``. ``is_packed``: it is one zstd frame,
        else it is plain. StorageFull as in ``sync``."""
        if self._uncut:
            raise OSError(errno.EIO, "what failed could not be taken back; a new start reads the journal anew")
        try:
            if self._file is None:
                self._start_file()
            now = self._clock.now_ns()
            packed = body if is_packed else self._compressor.compress(body)
            frame = encode(self.uuid, self._next_seq, signal, packed, now, digest)
            self._pending.append(Place(self._next_seq, signal, self._path, self._size, len(frame), now, digest))
            self._buffer += frame
            self._size += len(frame)
            self._next_seq += 1
            if len(self._buffer) > _BUFFER_BYTES:
                self._flush()
        except OSError as error:
            self._abandon(error)
            raise
        return self._next_seq - 1

    def sync(self) -> list[Place]:
        """Make every frame put so far durable; returns where they lie.

        Raises StorageFull when the disk takes no more: the frames put since the last sync are cut away again and must
        be put once more; everything synced before is intact. After any other error of the disk they are written to a
        new file: what a failed sync left of the old one in memory is not trusted.
        """
        if self._file is None or not self._pending:
            return []
        try:
            self._flush()
            os.fdatasync(self._file)
        except OSError as error:
            self._abandon(error)
            raise
        synced = list(self._pending)
        self._pending.clear()
        self.places += synced
        self.waiting_bytes += sum(place.size for place in synced)
        for place in synced:
            self._hold(place)
        self.synced_seq = synced[-1].seq
        self._synced_size = self._size
        if self._size >= self._rotate_bytes:
            self._end_file()
        return synced

    def read(self, after_seq: int) -> Iterator[tuple[Place, bytes | None]]:
        """Synced frames numbered above ``after_seq``, in order, with their plain bodies; None for one that went bad."""
        return read_frames(self.uuid, [p for p in self.places if p.seq > after_seq])

    def drop_through(self, seq: int) -> None:
        """Remove the files whose frames are all numbered up to ``seq``: the tables have them, and are synced.

        The file being written is ended and removed only when it has grown past an eighth of the rotation size.
        """
        while self.places and self.places[0].seq <= seq:
            self.waiting_bytes -= self.places.popleft().size
        if self._size >= self._rotate_bytes // 8 and not self._pending and self.synced_seq <= seq:
            self._end_file()
        first = self.places[0].path if self.places else None
        keep = {first, *(place.path for place in self._pending), self._path if self._file is not None else None}
        for path in sorted(self.folder.glob("*.wal")):
            if path in keep or (first is not None and path.name >= first.name):
                continue
            keep_digests(path, self._held.get(path, []), self._clock.now_ns())
            path.unlink()
            self._held.pop(path, None)

    def digests(self) -> list[tuple[int, bytes]]:
        """(time received, digest) of the frames in its files."""
        return [pair for held in self._held.values() for pair in held]

    def close(self) -> None:
        """Stop writing. Frames that were put but not synced are given up, as a crash would."""
        self._buffer.clear()
        self._pending.clear()
        self._end_file()

    def _hold(self, place: Place) -> None:
        held = self._held.setdefault(place.path, [])
        if place.digest != NO_DIGEST:
            held.append((place.received_ns, place.digest))

    def _start_file(self) -> None:
        self._path = self.folder / f"{self._next_seq:020d}.wal"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
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
        """Cut the file back to what was synced, forget what was not, and name a full disk for what it is.

        When not even that works the journal takes no more: frames written behind what is left over would not be found again.
        """
        self._buffer.clear()
        self._pending.clear()
        self._next_seq = self.synced_seq + 1
        if self._file is not None:
            self._uncut = True
            os.ftruncate(self._file, self._synced_size)
            os.lseek(self._file, self._synced_size, os.SEEK_SET)
            if error.errno not in FULL:
                os.fsync(self._file)  # the next file's frames have the numbers of those that were cut
            self._uncut = False
            self._size = self._synced_size
            if self._size <= HEADER_BYTES:
                self._end_file()
                self._path.unlink(missing_ok=True)
            elif error.errno not in FULL:
                self._end_file()
        if error.errno in FULL:
            raise StorageFull(f"{self.folder}: the disk takes no more bytes ({error.strerror}); frames up to "
                              f"{self.synced_seq} are safe; free some space and run again") from error
