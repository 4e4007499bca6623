"""Bodies as they were before compression, and never more of them than is allowed: a bomb stops at the bound.

Output is produced only up to the bound, so memory stays within about twice of it, whatever a few sent bytes claim to be.
"""

from __future__ import annotations

import zlib
from typing import NoReturn

import zstandard

from collectors.receive.bad_request import BadRequest

ENCODINGS = ("gzip", "zstd")
_ZSTD_WINDOW = 8 << 20
"""Bytes of the largest window of the zstd content coding (RFC 9659)."""
MOST_MEMBERS = 4096
"""Members of a gzip body, or frames of a zstd body: each costs as much as kilobytes do, also an empty one."""
_MEMBER_STEP = 256
"""Bytes first looked at for a member that is not the first: what is not its own is copied."""
_ZSTD_WORST = 32_768
"""Bytes that one byte of a zstd frame can become: a block of 4 bytes repeats one byte 128 KiB times."""


def encoding_of(header: str) -> str:
    """The one coding of a Content-Encoding header, ``identity`` when there is none. BadRequest when it is not spoken here."""
    codings = [coding for part in header.split(",") if (coding := part.strip().lower()) not in ("", "identity")]
    if not codings:
        return "identity"
    coding = "gzip" if codings[0] == "x-gzip" else codings[0]
    if len(codings) > 1 or coding not in ENCODINGS:
        raise BadRequest("unsupported", "Content-Encoding must be one of identity, gzip, zstd")
    return coding


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """The plain body, at most ``limit`` bytes. ``encoding``: identity, gzip (members may follow each other), zstd (frames too).

    Raises BadRequest: ``too_large`` beyond the limit, ``malformed`` for what is cut, damaged or followed by something else.
    """
    if encoding == "identity":
        return _within(body, limit)
    return _gunzip(body, limit) if encoding == "gzip" else _unzstd(body, limit)


def is_one_frame(sent: bytes, plain: bytes) -> bool:
    """Whether ``sent``, which zstd unpacked to ``plain``, is a frame that says its size, and no longer than what it holds."""
    try:
        return len(sent) <= len(plain) == zstandard.frame_content_size(sent)
    except zstandard.ZstdError:
        return False


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        _too_large(limit)
    return body


def _too_large(limit: int) -> NoReturn:
    raise BadRequest("too_large", f"the unpacked body is larger than {limit} bytes")


def _gunzip(body: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit
    at = 0
    for _ in range(MOST_MEMBERS):
        member = zlib.decompressobj(wbits=31)
        step = len(body) if not at else _MEMBER_STEP
        while at < len(body) and not member.eof:
            try:
                part = member.decompress(body[at : at + step], left + 1)
            except zlib.error:
                raise BadRequest("malformed", "the body is not gzip, or damaged") from None
            parts.append(part)
            left -= len(part)
            if left < 0:
                _too_large(limit)
            at = min(at + step, len(body)) - len(member.unused_data)
            step *= 4
        if not member.eof:
            raise BadRequest("malformed", "the gzip body is cut short")
        if at == len(body) or (not body[at] and not body[at:].strip(b"\0")):  # padding of zeros is no member
            return parts[0] if len(parts) == 1 else b"".join(parts)
    raise BadRequest("too_large", f"the gzip body has more than {MOST_MEMBERS} members")


def _unzstd(body: bytes, limit: int) -> bytes:
    try:
        size = zstandard.frame_content_size(body)
        if 0 < size <= limit:
            return _zstd().decompress(body, allow_extra_data=False)
        if size > limit:
            _too_large(limit)
    except zstandard.ZstdError:
        pass  # several frames, or none: the slow way tells
    return _unzstd_frames(body, limit)


def _unzstd_frames(body: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit
    frame = _zstd().decompressobj()
    at = frames = 0
    while at < len(body):
        end = at + max(64, left // _ZSTD_WORST)
        try:
            part = frame.decompress(body[at:end])
        except zstandard.ZstdError:
            raise BadRequest("malformed", "the body is not zstd, damaged, or needs a window beyond 8 MiB") from None
        parts.append(part)
        left -= len(part)
        if left < 0:
            _too_large(limit)
        at = min(end, len(body)) - len(frame.unused_data)
        if frame.eof and at < len(body):
            frames += 1
            if frames == MOST_MEMBERS:
                raise BadRequest("too_large", f"the zstd body has more than {MOST_MEMBERS} frames")
            frame = _zstd().decompressobj()
    if not frame.eof:
        raise BadRequest("malformed", "the zstd body is cut short")
    return b"".join(parts)


def _zstd() -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
