"""What the official parser reads is well-formed, whatever it says; everything else is refused with a reason."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from hypothesis import example, given, settings
from hypothesis import strategies as st
from otlp_messages import requests

from collectors.bad_request import BadRequest
from collectors.sink import SIGNALS, Signal
from collectors.well_formed import check_protobuf


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


@given(st.sampled_from(SIGNALS), st.binary(max_size=60))
@example("metrics", b"\x0a\x02\x12\x80")
@settings(max_examples=100)
def test_any_bytes_are_well_formed_or_refused(signal: Signal, body: bytes) -> None:
    try:
        check_protobuf(signal, body)
    except BadRequest as bad:
        assert bad.outcome == "malformed"
