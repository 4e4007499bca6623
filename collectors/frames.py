"""The journal's bytes: a file header, then frames ``[length, crc32, seq, signal, received, digest, zstd body]``.

The checksum covers everything of a frame but itself and starts from the journal's uuid, so a frame of another journal,
a run of zeros and a shifted read never pass. A file is read up to its first frame that does not check; what follows is
not searched for frames that look right. The digest tells a sender's retry from a new body (``recent_bodies.py``).
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path

import zstandard

from collectors.errors import StoreUnreadable
from collectors.sink import SIGNALS, Signal

MAGIC = b"FLSHJRN2"
_HEADER = struct.Struct("<8s16sQI")
_FRAME = struct.Struct("<IIQBQ16s")
HEADER_BYTES = _HEADER.size
FRAME_BYTES = _FRAME.size
MAX_BODY = (1 << 30) + (1 << 24)
"""Bytes of one packed body: the largest that may be set, and what zstd adds to one that it cannot make smaller."""
NO_DIGEST = bytes(16)
"""The digest of a body that no sender repeats."""

_CODES: dict[Signal, int] = {signal: code for code, signal in enumerate(SIGNALS, start=1)}
_NAMES: dict[int, Signal] = {code: signal for signal, code in _CODES.items()}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one intact frame lies: its sequence number and signal, file, offset of the frame and bytes of the frame; when it
    was received (UTC ns), and the digest of its body."""

    seq: int
    signal: Signal
    path: Path
    offset: int
    size: int
    received_ns: int = 0
    digest: bytes = NO_DIGEST


@dataclass(frozen=True, slots=True)
class Scan:
    """What one journal file holds: intact frames in order, bytes up to the end of the last one, and what is wrong."""

    path: Path
    places: tuple[Place, ...]
    good_bytes: int
    size: int
    damage: str | None


def file_header(journal: uuid.UUID, first_seq: int) -> bytes:
    """The header of a journal file: magic with the format's number, journal uuid, first sequence number, crc32."""
    head = _HEADER.pack(MAGIC, journal.bytes, first_seq, 0)[:-4]
    return head + struct.pack("<I", zlib.crc32(head))


def encode(journal: uuid.UUID, seq: int, signal: Signal, packed: bytes, received_ns: int = 0,
           digest: bytes = NO_DIGEST) -> bytes:
    """One frame. ``packed`` is the OTLP body as one zstd frame that says its size."""
    rest = struct.pack("<QBQ16s", seq, _CODES[signal], received_ns, digest)
    return struct.pack("<II", len(packed), _checksum(journal, len(packed), rest, packed)) + rest + packed


def decode(journal: uuid.UUID, data: bytes) -> tuple[int, Signal, bytes]:
    """Sequence number, signal and plain body of one whole frame; ValueError says what is wrong with it."""
    length, checksum, seq, code, _, _ = _FRAME.unpack_from(data)
    packed = data[FRAME_BYTES:]
    if len(packed) != length or checksum != _checksum(journal, length, data[8:FRAME_BYTES], packed):
        raise ValueError("checksum mismatch")
    try:
        return seq, _NAMES[code], zstandard.ZstdDecompressor().decompress(packed)
    except zstandard.ZstdError as error:
        raise ValueError(f"zstd: {error}") from error


def scan(path: Path, journal: uuid.UUID, after_seq: int = 0) -> Scan:
    """Read one journal file up to its first damage. ``after_seq``: frames must be numbered above it, and rise by one.

    Raises StoreUnreadable for an intact file of another format.
    """
    data = path.read_bytes()
    _check_format(path, data)
    damage = _header_damage(data, journal)
    places: list[Place] = []
    offset = HEADER_BYTES
    last = after_seq
    while offset < len(data):
        size, problem = _frame_at(data, offset, journal, last, first=not places)
        if problem:
            damage = damage or problem
            break
        _, _, last, code, received_ns, digest = _FRAME.unpack_from(data, offset)
        places.append(Place(last, _NAMES[code], path, offset, size, received_ns, digest))
        offset += size
    return Scan(path, tuple(places), min(offset, len(data)), len(data), damage)


def _checksum(journal: uuid.UUID, length: int, rest: bytes, packed: bytes) -> int:
    return zlib.crc32(packed, zlib.crc32(struct.pack("<16sI", journal.bytes, length) + rest))


def _check_format(path: Path, data: bytes) -> None:
    head = data[:HEADER_BYTES]
    if (head[:7] == MAGIC[:7] and head[:8] != MAGIC and len(head) == HEADER_BYTES
            and zlib.crc32(head[:-4]) == int.from_bytes(head[-4:], "little")):
        raise StoreUnreadable(f"{path}: is a journal of format {chr(head[7])} and this Flashover reads {chr(MAGIC[7])}; "
                              "`flashover store recover` of the version that wrote it takes it in")


def _header_damage(data: bytes, journal: uuid.UUID) -> str | None:
    if len(data) < HEADER_BYTES:
        return "file header cut"
    magic, owner, _, checksum = _HEADER.unpack_from(data)
    if checksum != zlib.crc32(data[: HEADER_BYTES - 4]) or magic != MAGIC:
        return "file header damaged"
    return None if owner == journal.bytes else f"file belongs to journal {uuid.UUID(bytes=owner)}"


def _frame_at(data: bytes, offset: int, journal: uuid.UUID, last: int, *, first: bool) -> tuple[int, str | None]:
    if offset + FRAME_BYTES > len(data):
        return 0, "frame cut"
    length, checksum, seq, code, _, _ = _FRAME.unpack_from(data, offset)
    end = offset + FRAME_BYTES + length
    if length <= MAX_BODY and end > len(data):
        return 0, "frame cut or its length damaged"
    packed = data[offset + FRAME_BYTES : end]
    rest = data[offset + 8 : offset + FRAME_BYTES]
    if length > MAX_BODY or code not in _NAMES or checksum != _checksum(journal, length, rest, packed):
        return 0, "checksum mismatch"
    if seq <= last or (seq != last + 1 and not first):
        return 0, f"sequence number {seq} after {last}"
    return FRAME_BYTES + length, None
