"""The journal's bytes: a file header, then frames ``[length, crc32, seq, signal, zstd body]``.

The checksum covers everything of a frame but itself and starts from the journal's uuid, so a frame of another journal,
a run of zeros and a shifted read never pass. A file is read up to its first frame that does not check; what follows is
not searched for frames that look right.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path

import zstandard

from collectors.sink import SIGNALS, Signal

MAGIC = b"FLSHJRN1"
_HEADER = struct.Struct("<8s16sQI")
_FRAME = struct.Struct("<IIQB")
HEADER_BYTES = _HEADER.size
FRAME_BYTES = _FRAME.size
MAX_BODY = 1 << 30

_CODES: dict[Signal, int] = {signal: code for code, signal in enumerate(SIGNALS, start=1)}
_NAMES: dict[int, Signal] = {code: signal for signal, code in _CODES.items()}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one intact frame lies: its sequence number and signal, file, offset of the frame and bytes of the frame."""

    seq: int
    signal: Signal
    path: Path
    offset: int
    size: int


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


def encode(journal: uuid.UUID, seq: int, signal: Signal, body: bytes, compressor: zstandard.ZstdCompressor) -> bytes:
    """One frame. ``body`` is the plain OTLP body."""
    packed = compressor.compress(body)
    code = _CODES[signal]
    return _FRAME.pack(len(packed), _checksum(journal, seq, code, packed), seq, code) + packed


def decode(journal: uuid.UUID, data: bytes) -> tuple[int, Signal, bytes]:
    """Sequence number, signal and plain body of one whole frame; ValueError says what is wrong with it."""
    length, checksum, seq, code = _FRAME.unpack_from(data)
    packed = data[FRAME_BYTES:]
    if len(packed) != length or checksum != _checksum(journal, seq, code, packed):
        raise ValueError("checksum mismatch")
    try:
        return seq, _NAMES[code], zstandard.ZstdDecompressor().decompress(packed)
    except zstandard.ZstdError as error:
        raise ValueError(f"zstd: {error}") from error


def scan(path: Path, journal: uuid.UUID, after_seq: int = 0) -> Scan:
    """Read one journal file up to its first damage. ``after_seq``: frames must be numbered above it, and rise by one."""
    data = path.read_bytes()
    damage = _header_damage(data, journal)
    places: list[Place] = []
    offset = HEADER_BYTES
    last = after_seq
    while offset < len(data):
        size, problem = _frame_at(data, offset, journal, last, first=not places)
        if problem:
            damage = damage or problem
            break
        _, _, last, code = _FRAME.unpack_from(data, offset)
        places.append(Place(last, _NAMES[code], path, offset, size))
        offset += size
    return Scan(path, tuple(places), min(offset, len(data)), len(data), damage)


def _checksum(journal: uuid.UUID, seq: int, code: int, packed: bytes) -> int:
    return zlib.crc32(packed, zlib.crc32(struct.pack("<16sIQB", journal.bytes, len(packed), seq, code)))


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
    length, checksum, seq, code = _FRAME.unpack_from(data, offset)
    end = offset + FRAME_BYTES + length
    if length <= MAX_BODY and end > len(data):
        return 0, "frame cut or its length damaged"
    packed = data[offset + FRAME_BYTES : end]
    if length > MAX_BODY or code not in _NAMES or checksum != _checksum(journal, seq, code, packed):
        return 0, "checksum mismatch"
    if seq <= last or (seq != last + 1 and not first):
        return 0, f"sequence number {seq} after {last}"
    return FRAME_BYTES + length, None
