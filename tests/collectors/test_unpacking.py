"""Compressed bodies come back whole or not at all, and never more of them than is allowed."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib
from typing import Any

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collectors.receive.bad_request import BadRequest
from collectors.receive.unpacking import MOST_MEMBERS, encoding_of, unpack

LIMIT = 1 << 20
STREAMED = zstandard.ZstdCompressor(write_content_size=False)
PACKERS = {"gzip": [gzip.compress, lambda body: gzip.compress(body, 0)],
           "zstd": [zstandard.compress, STREAMED.compress, zstandard.ZstdCompressor(write_checksum=True).compress]}
BODIES = st.binary(max_size=300) | st.builds(lambda piece, times: piece * times, st.binary(max_size=30), st.integers(0, 4000))
ENCODINGS = st.sampled_from(["identity", "gzip", "zstd"])


def outcome(body: bytes, encoding: str, limit: int = LIMIT) -> str:
    with pytest.raises(BadRequest) as bad:
        unpack(body, encoding, limit)
    return bad.value.outcome


@given(st.sampled_from(["gzip", "zstd"]), st.lists(st.tuples(BODIES, st.integers(0, 2)), min_size=1, max_size=4))
@settings(max_examples=80)
def test_members_and_frames_that_follow_each_other_are_one_body(encoding: str, parts: list[tuple[bytes, int]]) -> None:
    packers = PACKERS[encoding]
    plain = b"".join(part for part, _ in parts)
    packed = b"".join(packers[how % len(packers)](part) for part, how in parts)
    assert unpack(packed, encoding, max(len(plain), 1)) == plain
    if len(plain) > 1:
        assert outcome(packed, encoding, len(plain) - 1) == "too_large"


@given(st.sampled_from([(name, pack) for name, packers in PACKERS.items() for pack in packers]),
       st.binary(min_size=1, max_size=200), st.data())
@settings(max_examples=80)
def test_what_is_cut_or_followed_by_something_else_is_malformed(how: Any, plain: bytes, data: st.DataObject) -> None:
    encoding, pack = how
    packed = pack(plain)
    assert outcome(packed[: data.draw(st.integers(0, len(packed) - 1))], encoding) == "malformed"
    assert outcome(packed + b"\x01more", encoding) == "malformed"


@given(ENCODINGS, st.binary(max_size=200), st.integers(1, 300))
@example("gzip", b"\x1f\x8b\x08\x04\0\0\0\0\0\0", 10)
@example("zstd", b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8, 10)
@example("zstd", b"\x28\xb5\x2f\xfd\x00\xff\x01\x00\x00", 10)
@example("zstd", b"\x50\x2a\x4d\x18\x04\0\0\0abcd", 10)
@settings(max_examples=100)
def test_any_bytes_are_unpacked_within_the_limit_or_refused(encoding: str, sent: bytes, limit: int) -> None:
    try:
        assert len(unpack(sent, encoding, limit)) <= limit
    except BadRequest as bad:
        assert bad.outcome in ("malformed", "too_large")


@given(st.sampled_from(["gzip", "zstd"]), st.binary(min_size=20, max_size=400), st.data())
@settings(max_examples=100)
def test_a_flipped_bit_never_passes_for_another_body(encoding: str, plain: bytes, data: st.DataObject) -> None:
    packed = bytearray(PACKERS[encoding][0 if encoding == "gzip" else 2](plain))
    at = data.draw(st.integers(0, len(packed) * 8 - 1))
    packed[at // 8] ^= 1 << at % 8
    try:
        assert unpack(bytes(packed), encoding, LIMIT) == plain
    except BadRequest as bad:
        assert bad.outcome in ("malformed", "too_large")


def gzip_zeros(size: int) -> bytes:
    """One gzip member of zeros: blocks that do not know of each other, the same one over and over. Its checksum is wrong."""
    packer = zlib.compressobj(wbits=31)
    first, block = (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + block * ((size >> 20) - 1) + packer.flush()


def zstd_zeros(size: int, **how: bool) -> bytes:
    packer = zstandard.ZstdCompressor(**how).compressobj()
    zeros = bytes(1 << 20)
    return b"".join([*(packer.compress(zeros) for _ in range(size >> 20)), packer.flush()])


@pytest.mark.parametrize("bomb", ["gzip", "gzip of members", "zstd", "zstd of frames"])
def test_a_bomb_of_a_gigabyte_stops_at_the_bound(bomb: str) -> None:
    sent = {"gzip": lambda: gzip_zeros(1 << 30), "gzip of members": lambda: gzip.compress(bytes(1 << 20)) * 1024,
            "zstd": lambda: zstd_zeros(1 << 30), "zstd of frames": lambda: zstandard.compress(bytes(1 << 20)) * 1024}[bomb]()
    tracemalloc.start()
    try:
        assert outcome(sent, bomb.split()[0], 8 << 20) == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("plain", [b"", b"x"])
def test_members_and_frames_have_a_bound(encoding: str, plain: bytes) -> None:
    member = PACKERS[encoding][0](plain)
    assert unpack(member * MOST_MEMBERS, encoding, LIMIT) == plain * MOST_MEMBERS
    assert outcome(member * (MOST_MEMBERS + 1), encoding) == "too_large"
    assert outcome(member * 500_000, encoding) == "too_large"


def test_zeros_may_pad_a_gzip_body() -> None:
    assert unpack(gzip.compress(b"a") + bytes(1000), "gzip", LIMIT) == b"a"
    assert outcome(gzip.compress(b"a") + bytes(1000) + b"b", "gzip") == "malformed"


def test_a_frame_that_says_it_is_too_large_is_not_even_begun() -> None:
    sent = zstandard.compress(bytes(9 << 20))[:20]
    assert outcome(sent, "zstd", 8 << 20) == "too_large"


def test_a_window_beyond_eight_mebibytes_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=25)
    wide = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    sent = b"".join([*(wide.compress(os.urandom(1 << 20)) for _ in range(10)), wide.flush()])
    assert outcome(sent, "zstd", 64 << 20) == "malformed"


def test_a_plain_body_is_not_copied() -> None:
    body = os.urandom(100)
    assert unpack(body, "identity", 100) is body
    assert outcome(body, "identity", 99) == "too_large"


@pytest.mark.parametrize(
    ("header", "encoding"),
    [("", "identity"), ("identity", "identity"), ("gzip", "gzip"), (" GZip ", "gzip"), ("x-gzip", "gzip"), ("zstd,", "zstd"),
     ("identity, zstd", "zstd")],
)
def test_codings_that_are_spoken(header: str, encoding: str) -> None:
    assert encoding_of(header) == encoding


@pytest.mark.parametrize("header", ["br", "deflate", "gzip, zstd", "gzip,gzip", "aws-chunked", "\xff", "gzip;q=1"])
def test_codings_that_are_not(header: str) -> None:
    with pytest.raises(BadRequest) as bad:
        encoding_of(header)
    assert bad.value.status == 415
