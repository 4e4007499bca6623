"""The hand-written wire format against the official protobuf classes, byte for byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._internal import _encode_attributes, _encode_value
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

from instrumented_engine.telemetry import wire

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
SCALARS = st.one_of(st.text(), INT64, st.booleans(), st.floats(), st.sampled_from(["", 0, False, -1, 0.0, -0.0, "ü🔥"]))
VALUES = SCALARS | st.lists(SCALARS, max_size=4)
EDGES = [
    0,
    1,
    127,
    128,
    16383,
    16384,
    (1 << 28) - 1,
    1 << 28,
    (1 << 42) - 1,
    1 << 42,
    (1 << 56) - 1,
    1 << 56,
    (1 << 63) - 1,
]


def read_varint(data: bytes) -> int:
    """Protobuf's definition: seven bits a byte, lowest first, the top bit says that another byte follows."""
    assert all(byte & 128 for byte in data[:-1]) and not data[-1] & 128
    return sum((byte & 127) << 7 * at for at, byte in enumerate(data))


@given(st.integers(0, (1 << 64) - 1) | st.sampled_from(EDGES))
def test_a_varint_reads_back_and_is_the_shortest(value: int) -> None:
    data = wire.varint(value)
    assert read_varint(data) == value
    assert len(data) == max(1, -(-value.bit_length() // 7))


@given(VALUES)
def test_any_value_is_what_the_sdk_encodes(value: Any) -> None:
    assert wire.any_value(value) == _encode_value(value).SerializeToString()


@given(st.dictionaries(st.text(max_size=200), VALUES, max_size=6))
def test_attributes_are_what_the_sdk_encodes(items: dict[str, Any]) -> None:
    expected = Resource(attributes=_encode_attributes(items)).SerializeToString()
    assert wire.attributes(b"\x0a", items) == expected


def test_an_attribute_that_is_none_is_left_out() -> None:
    assert wire.attributes(b"\x0a", {"a": None, "b": 0}) == wire.attributes(b"\x0a", {"b": 0})
    assert wire.attributes(b"\x0a", None) == b""


@given(
    st.text(max_size=300), st.one_of(st.text(max_size=300), INT64, st.sampled_from(EDGES), st.floats(), st.booleans())
)
def test_a_prepared_attribute_is_what_an_unprepared_one_is(key: str, value: Any) -> None:
    assert wire.attribute(b"\x4a", key, type(value))(value) == wire.attributes(b"\x4a", {key: value})


def test_numpy_integers_pass_as_int_and_floats_do_not() -> None:
    encode = wire.attribute(b"\x0a", "n", int)
    assert encode(np.int64(-3)) == encode(-3)
    with pytest.raises(TypeError):
        encode(1.0)


@pytest.mark.parametrize("value", [1 << 63, -(1 << 63) - 1, 1 << 64])
def test_what_does_not_fit_into_64_signed_bits_is_refused(value: int) -> None:
    with pytest.raises(OverflowError, match=str(value)):
        wire.int64(value)
    with pytest.raises(OverflowError, match=str(value)):
        wire.attribute(b"\x0a", "n", int)(value)


def test_a_value_that_otlp_has_no_type_for_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        wire.any_value(object())


@given(st.text(), st.integers(0, (1 << 64) - 1))
def test_proto3_zeros_are_left_out(name: str, time: int) -> None:
    event = Span.Event(name=name, time_unix_nano=time).SerializeToString()
    assert wire.fixed64(b"\x09", time) + wire.text(b"\x12", name) == event
    assert HistogramDataPoint(count=time).SerializeToString() == wire.fixed64(b"\x21", time)


@given(st.lists(st.tuples(st.text(max_size=5), st.lists(st.text(min_size=1, max_size=40), max_size=4)), max_size=4))
def test_an_envelope_is_a_request(groups: list[tuple[str, list[str]]]) -> None:
    scope = InstrumentationScope(name="scope", version="1")
    resources = [Resource(attributes=_encode_attributes({"k": key})) for key, _ in groups]
    spans = [[Span(name=name) for name in names] for _, names in groups]
    expected = TracesData(
        resource_spans=[
            ResourceSpans(resource=resource, scope_spans=[ScopeSpans(scope=scope, spans=members)])
            for resource, members in zip(resources, spans, strict=True)
        ]
    )
    encoded = [
        (resource.SerializeToString(), [span.SerializeToString() for span in members])
        for resource, members in zip(resources, spans, strict=True)
    ]
    assert wire.envelope(scope.SerializeToString(), encoded) == expected.SerializeToString()


def test_key_value_of_a_long_string_needs_a_long_length() -> None:
    value = "x" * 20_000
    message = KeyValue.FromString(wire.attribute(b"\x0a", "k", str)(value)[4:])
    assert message.value.string_value == value
