"""Which bodies came in during the last ten minutes, so that a sender's retry after a lost reply is not taken twice.

A body is known by a digest of its signal and its bytes, which stands in its journal frame. When a journal file goes, the
young digests of its frames move to ``journal/<first frame>.seen``, synced before the journal file is removed: whenever the
process dies, a retry of what was durable is known again afterwards.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from collectors.clock import Clock
from collectors.durable import replace_file
from collectors.frames import NO_DIGEST
from collectors.sink import Signal

FOLDER = "journal"
KEEP_NS = 600_000_000_000
_RECORD = struct.Struct("<Q16s")


def digest_of(signal: Signal, body: bytes) -> bytes:
    """16 bytes that stand for one body of one signal."""
    found = hashlib.sha256(signal.encode("ascii"))  # which CPUs have instructions for
    found.update(body)
    return found.digest()[:16]


def keep_digests(path: Path, digests: list[tuple[int, bytes]], now_ns: int) -> None:
    """Write the (time received, digest) pairs of a journal file that is about to go next to it; durable on return.

    Pairs older than ``KEEP_NS`` are left out, and files of such pairs removed.
    """
    for seen in path.parent.glob("*.seen"):
        if all(now_ns - received > KEEP_NS for received, _ in _read(seen)):
            seen.unlink()
    young = [pair for pair in digests if now_ns - pair[0] <= KEEP_NS]
    if young:
        content = b"".join(_RECORD.pack(*pair) for pair in young)
        replace_file(path.with_suffix(".seen"), content + struct.pack("<I", zlib.crc32(content)))


class RecentBodies:
    """The digests received in the last ten minutes. Not safe for several threads.

    ``received``: (time received, digest) pairs of frames that the journal holds; those of removed files are read from
    ``store``. Within one process ages are measured by ``monotonic``: a wall clock that jumps forgets nothing early.
    """

    def __init__(self, store: Path, received: Iterable[tuple[int, bytes]], clock: Clock, monotonic: Clock) -> None:
        self._monotonic = monotonic
        now, here = clock.now_ns(), monotonic.now_ns()
        pairs = [*received, *(pair for seen in sorted((store / FOLDER).glob("*.seen")) for pair in _read(seen))]
        aged = sorted((max(0, now - at), digest) for at, digest in pairs if digest != NO_DIGEST)
        self._order = deque((here - age, digest) for age, digest in reversed(aged) if age <= KEEP_NS)
        self._known = {digest for _, digest in self._order}

    def __contains__(self, digest: bytes) -> bool:
        self._forget()
        return digest in self._known

    def __len__(self) -> int:
        return len(self._known)

    def add(self, digests: Iterable[bytes]) -> None:
        """Remember digests of bodies that are durable now."""
        now = self._monotonic.now_ns()
        for digest in digests:
            self._known.add(digest)
            self._order.append((now, digest))
        self._forget()

    def _forget(self) -> None:
        oldest = self._monotonic.now_ns() - KEEP_NS
        while self._order and self._order[0][0] < oldest:
            self._known.discard(self._order.popleft()[1])


def _read(path: Path) -> list[tuple[int, bytes]]:
    """The pairs of one file; none when it is damaged: then a retry would be taken as new."""
    content = path.read_bytes()
    pairs, checksum = content[:-4], content[-4:]
    if len(content) < 4 or len(pairs) % _RECORD.size or struct.pack("<I", zlib.crc32(pairs)) != checksum:
        return []
    return [(received, digest) for received, digest in _RECORD.iter_unpack(pairs)]
