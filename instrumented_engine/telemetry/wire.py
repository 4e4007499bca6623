"""OTLP's protobuf wire format, written by hand for the few messages that the engine emits by the thousand.

Every function gives the very bytes that the official classes would give (fields in the order of their numbers, shortest
varints, proto3 zeros left out); the tests hold each of them to the SDK's own encoders. Encoding spec:
https://protobuf.dev/programming-guides/encoding/, messages: opentelemetry-proto 1.x, ``common/v1/common.proto``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import index
from typing import Any

Value = str | bool | int | float
"""What an attribute may hold; attribute maps may also hold sequences of these. None means: no such attribute."""

_SHORT = [bytes([i]) if i < 128 else bytes([i & 127 | 128, i >> 7]) for i in range(1 << 14)]
_MORE = [bytes([i & 127 | 128, i >> 7 | 128]) for i in range(1 << 14)]
_DOUBLE = struct.Struct("<d").pack
_FIXED64 = struct.Struct("<Q").pack

_KEY, _VALUE = b"\x0a", b"\x12"
_STRING, _BOOL, _INT, _FLOAT, _ARRAY, _BYTES = b"\x0a", b"\x10", b"\x18", b"\x21", b"\x2a", b"\x3a"


def varint(value: int) -> bytes:
    """``value`` (0 .. 2**64-1) as a varint, two table look-ups for every 28 bits instead of a loop over bytes."""
    if value < 1 << 14:
        return _SHORT[value]
    if value < 1 << 28:
        return _MORE[value & 16383] + _SHORT[value >> 14]
    if value < 1 << 42:
        return _MORE[value & 16383] + _MORE[value >> 14 & 16383] + _SHORT[value >> 28]
    return _MORE[value & 16383] + _MORE[value >> 14 & 16383] + _MORE[value >> 28 & 16383] + varint(value >> 42)


def int64(value: int) -> bytes:
    """A signed 64-bit integer as protobuf's int64 (negatives take ten bytes); OverflowError outside its range."""
    if value < 0:
        if value < -(1 << 63):
            raise OverflowError(f"{value} does not fit into a signed 64-bit integer")
        return varint(value + (1 << 64))
    if value >= 1 << 63:
        raise OverflowError(f"{value} does not fit into a signed 64-bit integer")
    return varint(value)


def delimited(tag: bytes, body: bytes) -> bytes:
    """A length-delimited field, also when it is empty (an empty submessage that is there is not one that is absent)."""
    size = len(body)
    return tag + (_SHORT[size] if size < 1 << 14 else varint(size)) + body


def text(tag: bytes, value: str) -> bytes:
    """A string field of proto3: left out when empty."""
    return delimited(tag, value.encode()) if value else b""


def fixed64(tag: bytes, value: int) -> bytes:
    """A fixed64 field of proto3 (unsigned): left out when 0."""
    return tag + _FIXED64(value) if value else b""


def any_value(value: object) -> bytes:
    """The AnyValue message for ``value``, by its type; TypeError for a type that OTLP has no value for."""
    if isinstance(value, str):
        return delimited(_STRING, value.encode())
    if isinstance(value, bool):
        return _BOOL + (b"\x01" if value else b"\x00")
    if isinstance(value, int):
        return _INT + int64(value)
    if isinstance(value, float):
        return _FLOAT + _DOUBLE(value)
    if isinstance(value, bytes):
        return delimited(_BYTES, value)
    if isinstance(value, Sequence):
        return delimited(_ARRAY, b"".join(delimited(b"\x0a", any_value(item)) for item in value))
    raise TypeError(f"an attribute cannot hold {value!r} of type {type(value).__name__}")


def attributes(tag: bytes, items: Mapping[str, Any] | None) -> bytes:
    """Repeated KeyValue fields in the order of ``items``; None values are left out."""
    fields = ((text(_KEY, key), any_value(value)) for key, value in (items or {}).items() if value is not None)
    return b"".join(delimited(tag, key + delimited(_VALUE, value)) for key, value in fields)


def attribute(tag: bytes, key: str, kind: type[Value]) -> Callable[[Any], bytes]:
    """An encoder for one attribute whose key and type are known beforehand: value -> KeyValue field.

    Strings and integers take a short way. Integers of any sort pass as int (numpy's too), floats do not: TypeError.
    """
    head = text(_KEY, key) + _VALUE
    if kind is str:
        return _string_attribute(tag, head)
    if kind is int:
        prefixes = [tag + varint(len(head) + 2 + n) + head + bytes([1 + n]) + _INT for n in range(11)]

        def encode_int(value: int) -> bytes:
            value = index(value)
            body = varint(value) if 0 <= value < 1 << 42 else int64(value)
            return prefixes[len(body)] + body

        return encode_int
    return lambda value: attributes(tag, {key: value})


def _string_attribute(tag: bytes, head: bytes) -> Callable[[str], bytes]:
    def encode(value: str) -> bytes:
        data = value.encode()
        body = _STRING + varint(len(data)) + data
        body = head + varint(len(body)) + body
        return tag + varint(len(body)) + body

    return encode


def envelope(scope: bytes, groups: Iterable[tuple[bytes, Sequence[bytes]]]) -> bytes:
    """An Export{Trace,Metrics,Logs}ServiceRequest: the three have the same shape and field numbers.

    ``groups``: per resource the encoded Resource message and its spans, metrics or log records (encoded messages);
    ``scope``: the encoded InstrumentationScope message that all of them come from.
    """
    out: list[bytes] = []
    for resource, items in groups:
        scoped = [delimited(b"\x0a", scope), *(delimited(b"\x12", item) for item in items)]
        body = delimited(b"\x0a", resource) + delimited(b"\x12", b"".join(scoped))
        out.append(delimited(b"\x0a", body))
    return b"".join(out)
