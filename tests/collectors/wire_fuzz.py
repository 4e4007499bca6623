"""Traces bodies written field by field, as no encoder would: fields twice or not at all, of another wire type, unknown.

The official classes read all of them but those with bytes that are no UTF-8 or no message. And edits, for bodies of any kind.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from google.protobuf.message import DecodeError
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sdk_bodies import TEXTS

from collectors.decode.promoted import slots
from collectors.decode.wire_arrow import SPANS as WIRE
from collectors.decode.wire_arrow import WireReader

Fields = st.SearchStrategy[bytes]
KEYS = st.sampled_from(sorted(slots())) | st.sampled_from(
    ["x", "y", "", "gen_ai.prompt", "gen_ai.input.messages", "gen_ai.usage.prompt_tokens", "content", "flashover.edge",
     "service.name", "flashover.entity", "flashover.edge.calls", "event.name"])


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def overlong(value: int) -> bytes:
    """The same number in all of ten bytes, as encoders by template write it."""
    return bytes([value >> 7 * at & 127 | 128 for at in range(9)]) + bytes([value >> 63])


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def text(number: int, values: st.SearchStrategy[str]) -> Fields:
    return values.map(lambda value: field(number, value.encode()))


def number(at: int, values: st.SearchStrategy[int]) -> Fields:
    return st.builds(lambda value, form: varint(at << 3) + form(value % (1 << 64)), values, st.sampled_from([varint, overlong]))


def fixed(at: int, values: st.SearchStrategy[int]) -> Fields:
    return values.map(lambda value: varint(at << 3 | 1) + struct.pack("<Q", value))


def message(at: int, inner: Fields) -> Fields:
    return inner.map(lambda payload: field(at, payload))


def ids(at: int, size: int) -> Fields:
    """Mostly of the right length; often one of few, so that spans meet."""
    good = st.sampled_from([bytes(size - 1) + bytes([last]) for last in range(6)]) | st.binary(min_size=size, max_size=size)
    return once(good.map(lambda value: field(at, value)), strange(lambda: st.binary(max_size=size + 1).map(
        lambda value: field(at, value))))


def once(*parts: Fields) -> Fields:
    return st.tuples(*parts).map(b"".join)


def maybe(part: Fields) -> Fields:
    return st.just(b"") | part


def some(part: Fields, most: int = 3) -> Fields:
    return st.lists(part, max_size=most).map(b"".join)


def strange(rare: Callable[[], Fields]) -> Fields:
    """Nothing, mostly."""
    return st.sampled_from([False] * 60 + [True] + [False] * 39).flatmap(lambda yes: rare() if yes else st.just(b""))


INTS = st.integers(0, 1 << 64) | st.sampled_from(
    [0, 1, -1, 7, 1 << 31, (1 << 31) - 1, -(1 << 31) - 1, (1 << 63) - 1, -(1 << 63)])
DOUBLES = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, 2.5e-9, 1.5e-9, 9e9, 1e300, 1 / 3]))
STRINGS = TEXTS | st.sampled_from(["7", "-9", "007", "9" * 19, "-", "retries_of", "chat", "replica:r0,gateway:main", "x" * 50])
TIMES = st.integers(1, 99) | st.sampled_from([0, 1 << 63, (1 << 64) - 1])
GOOD_TIMES = st.integers(1, 99) | st.sampled_from([1_770_000_000_000_000_000, (1 << 63) - 1])
UNKNOWN = st.sampled_from([b"\x9a\x06\x01a", b"\x98\x06\x05", b"\x9b\x06\x9c\x06", b"\x9d\x06abcd", b"\xff", b"\x0d\0\0\0\0"])
SCALAR = st.one_of(text(1, STRINGS), number(2, st.integers(0, 2)), number(3, INTS),
                   DOUBLES.map(lambda value: b"\x21" + struct.pack("<d", value)),
                   st.binary(max_size=4).map(lambda data: field(7, data)))


def key_value(value: Fields) -> Fields:
    return once(text(1, KEYS), message(2, value), strange(lambda: message(2, value)), strange(lambda: UNKNOWN))


NESTED = st.one_of(
    some(message(1, SCALAR | st.just(b""))).map(lambda inner: field(5, inner)),
    some(message(1, key_value(SCALAR))).map(lambda inner: field(6, inner)),
    some(message(1, message(5, some(message(1, SCALAR))))).map(lambda inner: field(5, inner)))
VALUE = once(SCALAR | SCALAR | NESTED | st.just(b""), strange(lambda: SCALAR), strange(lambda: NESTED))
ATTRIBUTE = key_value(VALUE)
EVENT = once(maybe(fixed(1, GOOD_TIMES)), text(2, TEXTS | st.sampled_from(["gen_ai.choice", "exception"])),
             some(message(3, ATTRIBUTE), 2), strange(lambda: fixed(1, TIMES)))
LINK = once(ids(1, 16), ids(2, 8), maybe(
    message(4, ATTRIBUTE | st.just(field(1, b"flashover.edge") + field(2, field(1, b"retries_of"))))))
STATUS = once(maybe(text(2, TEXTS)), maybe(number(3, st.integers(0, 2) | INTS)))
SPAN = once(
    ids(1, 16), ids(2, 8), maybe(ids(4, 8)), maybe(text(5, TEXTS)), maybe(number(6, st.integers(0, 5) | INTS)),
    fixed(7, GOOD_TIMES), maybe(fixed(8, GOOD_TIMES)), some(message(9, ATTRIBUTE), 3), some(message(11, EVENT), 2),
    maybe(some(message(13, LINK), 2)),
    maybe(message(15, STATUS)), strange(lambda: message(15, STATUS)), strange(lambda: fixed(7, TIMES)),
    strange(lambda: fixed(8, TIMES)), strange(lambda: UNKNOWN), strange(lambda: ids(2, 8)),
    strange(lambda: st.just(b"\x1a\1\xff")))
ENTITY = st.sampled_from(["gateway:main", "replica:r0", "replica:r1"]).map(
    lambda entity: field(1, field(1, b"flashover.entity") + field(2, field(1, entity.encode()))))
RESOURCE = once(maybe(ENTITY), some(message(1, ATTRIBUTE), 3))
SCOPE = once(maybe(message(1, text(1, TEXTS))), some(message(2, SPAN), 4), strange(lambda: message(1, UNKNOWN)),
             strange(lambda: text(3, TEXTS)))
BLOCK = once(maybe(message(1, RESOURCE)), some(message(2, SCOPE), 2), strange(lambda: message(1, RESOURCE)))
BODY = once(some(message(1, BLOCK)), strange(lambda: UNKNOWN))

EDITS = st.lists(st.tuples(st.sampled_from(["set", "drop", "insert", "cut"]), st.floats(0, 1, exclude_max=True),
                           st.integers(0, 255)), min_size=1, max_size=3)


def edited(body: bytes, edits: list[tuple[str, float, int]]) -> bytes:
    """The body after some edits: what, where (as a share of it), with which byte."""
    data = bytearray(body)
    for what, where, value in edits:
        at = int(where * len(data))
        if what == "set" and data:
            data[at] = value
        elif what == "insert":
            data.insert(at, value)
        else:
            del data[at : at + 1 if what == "drop" else at + 1 + value]
    return bytes(data)


def lenient(body: bytes) -> bool:
    """Whether the fast reader reads what the official classes refuse."""
    try:
        ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        return not WireReader(WIRE).read([body])[1]
    return False
