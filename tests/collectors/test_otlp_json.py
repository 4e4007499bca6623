"""OTLP/JSON means the same as OTLP's binary form; what it cannot mean is refused by name, and nothing crashes the parser."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_messages import as_json, numbers_as_numbers, requests

from collectors.receive.bad_request import BadRequest
from collectors.receive.otlp_json import to_protobuf
from collectors.receive.well_formed import check_protobuf
from collectors.sink import SIGNALS, Signal

KEYS = ("resourceSpans", "scopeSpans", "spans", "resource", "attributes", "key", "value", "traceId", "name", "kind", "intValue",
        "arrayValue", "values", "kvlistValue", "bytesValue", "doubleValue", "startTimeUnixNano", "status", "code", "x")
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(["ff", "NaN", "12", "1e3"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4), max_leaves=25)


def span_json(**fields: Any) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [fields]}]}]}).encode()


def span_of(body: bytes) -> Span:
    return ExportTraceServiceRequest.FromString(to_protobuf("traces", body)).resource_spans[0].scope_spans[0].spans[0]


def refusal(body: bytes, signal: Signal = "traces") -> str:
    with pytest.raises(BadRequest) as refused:
        to_protobuf(signal, body)
    assert (refused.value.outcome, refused.value.status) == ("malformed", 400)
    return str(refused.value)


@given(requests(), st.booleans())
@settings(max_examples=100)
def test_json_means_what_the_message_means(request_: tuple[Signal, Message], as_numbers: bool) -> None:
    signal, message = request_
    said = as_json(message)
    body = json.dumps(numbers_as_numbers(said) if as_numbers else said).encode()
    assert type(message).FromString(to_protobuf(signal, body)).SerializeToString() == message.SerializeToString()


def test_ids_are_hex_of_either_case_and_of_any_length() -> None:
    span = span_of(span_json(traceId="5B8EFFF798038103D269B633813FC60c", spanId="eee19b7ec3c1b174", parentSpanId=""))
    assert span.trace_id == bytes.fromhex("5b8efff798038103d269b633813fc60c")
    assert (span.span_id, span.parent_span_id) == (bytes.fromhex("eee19b7ec3c1b174"), b"")
    assert span_of(span_json(traceId="abcd")).trace_id == b"\xab\xcd"


def test_names_are_camel_case_alone_unknown_ones_are_ignored_and_the_last_of_two_holds() -> None:
    fields = b'{"name":"a","name":"b","trace_id":"zz","future":[{}]}'
    span = span_of(b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + fields + b']}]}],"x":1}')
    assert (span.name, span.trace_id) == ("b", b"")
    assert not span_of(span_json(name=None, attributes=None, status=None)).HasField("status")


@pytest.mark.parametrize("given", ["12", 12, 12.0, "1.2e1", "12.0"])
def test_a_double_may_be_said_in_many_ways(given: Any) -> None:
    span = span_of(span_json(attributes=[{"key": "k", "value": {"doubleValue": given}}]))
    assert span.attributes[0].value.double_value == 12.0


@pytest.mark.parametrize("given", ["+_8=", "+/8=", "-_8", "-_8="])
def test_bytes_are_base64_of_either_alphabet(given: str) -> None:
    span = span_of(span_json(attributes=[{"key": "k", "value": {"bytesValue": given}}]))
    assert span.attributes[0].value.bytes_value == b"\xfb\xff"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"traceId": "abc"}, "traceId: must be hexadecimal"), ({"spanId": "0x12"}, "spanId: must be hex"),
     ({"spanId": " ab "}, "spanId: must be hex"), ({"spanId": 12}, "spanId: must be a string"), ({"spanId": "äö"}, "spanId"),
     ({"kind": "SPAN_KIND_SERVER"}, "kind: must be the enum value's integer"), ({"kind": True}, "kind"),
     ({"kind": 2**31}, "kind: is out of range"),
     ({"startTimeUnixNano": -1}, "startTimeUnixNano: is out of range"), ({"startTimeUnixNano": "1_000"}, "startTimeUnixNano"),
     ({"startTimeUnixNano": 2**64}, "startTimeUnixNano"), ({"startTimeUnixNano": "9" * 500}, "startTimeUnixNano"),
     ({"startTimeUnixNano": 1.5}, "startTimeUnixNano: must be an integer"), ({"startTimeUnixNano": True}, "must be an integer"),
     ({"startTimeUnixNano": "\u0661"}, "must be an integer"), ({"droppedEventsCount": 2**32}, "out of range"),
     ({"name": 1}, "name: must be a string"), ({"name": "\ud800"}, "name: is out of range, or text that is no Unicode"),
     ({"attributes": {}}, "attributes: must be an array"), ({"attributes": [None]}, "attributes: must be an object"),
     ({"status": []}, "status: must be an object"), ({"events": [{"timeUnixNano": "x"}]}, "spans.events.timeUnixNano")],
)
def test_what_a_field_cannot_be_is_refused_by_its_name(fields: dict[str, Any], reason: str) -> None:
    assert reason in refusal(span_json(**fields))


@pytest.mark.parametrize(
    ("value", "reason"),
    [({"boolValue": 1}, "boolValue: must be true or false"), ({"boolValue": "true"}, "boolValue"),
     ({"doubleValue": "nan"}, "doubleValue: must be a number"), ({"doubleValue": True}, "doubleValue"),
     ({"doubleValue": "1e999"}, "doubleValue"), ({"doubleValue": 10**400}, "doubleValue"),
     ({"doubleValue": "+Infinity"}, "doubleValue"),
     ({"bytesValue": "a b"}, "bytesValue: must be base64"), ({"bytesValue": "a"}, "bytesValue"),
     ({"bytesValue": "é"}, "bytesValue"),
     ({"intValue": "1", "boolValue": True}, "a second value where one is allowed"), ([], "value: must be an object")],
)
def test_what_a_value_cannot_be_is_refused(value: Any, reason: str) -> None:
    assert reason in refusal(span_json(attributes=[{"key": "k", "value": value}]))


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"", "is no JSON"), (b"{", "is no JSON"), (b"{} x", "is no JSON: Extra data at character 3"), (b"{'a':1}", "is no JSON"),
     (b"[]", "must be an object"), (b"null", "must be an object"), (b"\xff", "is no UTF-8"),
     ("{}".encode("utf-16"), "is no UTF-8"),
     (b"\xef\xbb\xbf{}", "is no JSON"), (b'{"a":NaN}', "NaN is no JSON"), (b'{"a":-Infinity}', "-Infinity is no JSON"),
     (b'{"a":' + b"1" * 5000 + b"}", "too many digits"), (b'{"a":' + b"[" * 100_000, "nested too deep"),
     (b'{"a":' * 100_000, "nested too deep"), (b'{"resourceSpans":[{"schemaUrl":"\x01"}]}', "is no JSON")],
)
def test_what_is_no_json_is_refused(body: bytes, reason: str) -> None:
    assert reason in refusal(body)


def test_many_small_objects_are_refused_before_they_fill_the_memory() -> None:
    with pytest.raises(BadRequest) as bad:
        to_protobuf("traces", b'{"resourceSpans":[' + b"{}," * (1 << 21) + b"{}]}")
    assert bad.value.status == 413


def nested(levels: int) -> bytes:
    value: dict[str, Any] = {"intValue": "1"}
    for _ in range(levels):
        value = {"arrayValue": {"values": [value]}}
    return span_json(attributes=[{"key": "k", "value": value}])


def test_values_nest_as_deep_as_the_binary_parser_reads() -> None:
    deepest = max(levels for levels in range(1, 60) if _accepted(nested(levels)))
    assert deepest == 47
    check_protobuf("traces", to_protobuf("traces", nested(deepest)))
    assert "nested too deep" in refusal(nested(deepest + 1))
    assert len(refusal(nested(200))) < 300


def _accepted(body: bytes) -> bool:
    try:
        check_protobuf("traces", to_protobuf("traces", body))
    except BadRequest:
        return False
    return True


@given(st.sampled_from(SIGNALS), ANY_JSON | st.builds(lambda inner: {"resourceSpans": [{"scopeSpans": [inner]}]}, ANY_JSON))
@example("traces", {"resourceSpans": [{"resource": {"attributes": [{"value": {"doubleValue": float("inf")}}]}}]})
@settings(max_examples=100)
def test_any_json_is_taken_or_refused(signal: Signal, said: Any) -> None:
    _holds(signal, json.dumps(said).encode())


@given(st.sampled_from(SIGNALS), st.binary(max_size=60) | st.text('{}[]",:0129.eE+-\\utrnalfs ', max_size=60).map(str.encode))
@example("logs", b'{"resourceLogs":[{"schemaUrl":"\\ud83d"}]}')
@example("logs", b'{"\xed\xa0\x80":1}')
@settings(max_examples=100)
def test_any_bytes_are_taken_or_refused(signal: Signal, body: bytes) -> None:
    _holds(signal, body)


def _holds(signal: Signal, body: bytes) -> None:
    """Taken means that the binary form is well-formed; refused means BadRequest and nothing else."""
    try:
        binary = to_protobuf(signal, body)
    except BadRequest as bad:
        assert bad.outcome == "malformed"
    else:
        check_protobuf(signal, binary)
