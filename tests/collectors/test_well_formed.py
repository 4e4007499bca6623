"""What the official parser reads is well-formed, whatever it says; everything else is refused with a reason."""

from __future__ import annotations

import resource

import pytest
from google.protobuf.message import Message
from hypothesis import example, given, settings
from hypothesis import strategies as st
from otlp_messages import requests

from collectors.receive.bad_request import BadRequest
from collectors.receive.well_formed import check_protobuf
from collectors.sink import SIGNALS, Signal


def refusal(body: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as bad:
        check_protobuf("traces", body)
    assert (bad.value.outcome, bad.value.status) == ("malformed", 400)
    return bad.value


@given(requests())
@settings(max_examples=60)
def test_every_message_is_well_formed(request_: tuple[Signal, Message]) -> None:
    signal, message = request_
    check_protobuf(signal, message.SerializeToString())


def test_nothing_and_what_is_not_known_yet_are_well_formed() -> None:
    check_protobuf("logs", b"")
    check_protobuf("logs", b"\x7a\x01x")


@pytest.mark.parametrize(
    "body", [b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a", b"\x0b", b"\x1f\x8b\x08", b"\x0a\x04\x1a\x02\xff\xfe", b"{}", b"\0",
             b"\x0a\xff\xff\xff\xff\x0f"])
def test_what_is_cut_damaged_or_no_utf8_is_refused(body: bytes) -> None:
    assert "the body is no ExportTraceServiceRequest" in str(refusal(body))


def nested(levels: int) -> bytes:
    """A resource whose one attribute is so many arrays inside each other, around an empty value."""
    content = b""
    for tag in b"\x0a\x2a" * levels + b"\x12\x0a\x0a\x0a":
        content = bytes([tag, len(content) & 0x7F | 0x80, len(content) >> 7]) + content
    return content


def test_nesting_beyond_what_protobuf_reads_is_refused() -> None:
    check_protobuf("traces", nested(47))
    assert "too deep" in str(refusal(nested(49)))
    refusal(nested(2000))


def test_a_large_body_may_not_nest_deeper_either() -> None:
    def deep(levels: int) -> bytes:
        content = part(b"\x0a", b"x" * (2 << 20))
        for tag in b"\x0a\x2a" * levels + b"\x12\x0a\x0a\x0a":
            content = part(bytes([tag]), content)
        return content

    check_protobuf("traces", deep(40))
    refusal(deep(600))


@given(st.data())
@settings(max_examples=60)
def test_read_in_pieces_it_is_the_same(data: st.DataObject) -> None:
    """With pieces of a few bytes, so that every field of every message is one somewhere."""
    signal, message = data.draw(requests())
    body = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(0, 2)) if body else 0):
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    assert _verdict(signal, bytes(body), 1 << 20) == _verdict(signal, bytes(body), data.draw(st.integers(0, 20)))


def _verdict(signal: Signal, body: bytes, piece_bytes: int) -> bool:
    try:
        check_protobuf(signal, body, piece_bytes)
    except BadRequest as bad:
        assert bad.outcome == "malformed"
        return False
    return True


def part(tag: bytes, content: bytes) -> bytes:
    """A field of any length, its length said in five bytes."""
    size = len(content)
    return tag + bytes([*(size >> shift & 0x7F | 0x80 for shift in (0, 7, 14, 21)), size >> 28]) + content


@pytest.mark.parametrize(
    "content", [b"\x0a\0", part(b"\x0a", b"\x12\0" * 3), part(b"\x0a", part(b"\x12", b"\x12\0" * 100_000)), b"\x7a\0"])
def test_many_small_records_are_refused_before_they_fill_the_memory(content: bytes) -> None:
    body = content * ((4 << 20) // len(content))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadRequest) as bad:
        check_protobuf("traces", body)
    assert bad.value.outcome == "too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250 << 10  # KiB


@pytest.mark.parametrize("signal", SIGNALS)
def test_large_bodies_are_read_to_their_end(signal: Signal) -> None:
    ends = {"traces": (b"\x12", b"\x2a"), "metrics": (b"\x12", b"\x0a"), "logs": (b"\x12", b"\x1a")}
    record, text = ends[signal]
    records = part(record, part(text, b"x" * 3000)) * 1000 + part(record, part(text, b"y" * (2 << 20)))
    good = part(b"\x0a", part(b"\x12", records))
    check_protobuf(signal, good)
    for bad in (good[:-1], good + b"\x0a", good.replace(b"y", b"\xff", 1), good + b"\x0b"):
        with pytest.raises(BadRequest) as refused:
            check_protobuf(signal, bad)
        assert refused.value.outcome == "malformed"


@given(st.sampled_from(SIGNALS), st.binary(max_size=60))
@example("metrics", b"\x0a\x02\x12\x80")
@settings(max_examples=100)
def test_any_bytes_are_well_formed_or_refused(signal: Signal, body: bytes) -> None:
    try:
        check_protobuf(signal, body)
    except BadRequest as bad:
        assert bad.outcome == "malformed"
