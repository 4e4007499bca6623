"""Any OTLP request message, drawn field by field from its descriptor; and the JSON that OTLP's specification makes of it."""

from __future__ import annotations

import base64
import math
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from hypothesis import strategies as st

from collectors.receive.well_formed import REQUESTS
from collectors.sink import SIGNALS, Signal

_HEX_KEYS = {"traceId", "spanId", "parentSpanId"}
_DEPTH = 9
_TEXT = st.text(max_size=5) | st.sampled_from(["", "\0", "日本🔥", '"\\{'])
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: _TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=17),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False) | st.sampled_from([math.nan, -0.0, math.inf, -math.inf]),
    FieldDescriptor.TYPE_INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_SFIXED64: st.integers(-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, (1 << 64) - 1),
    FieldDescriptor.TYPE_FIXED64: st.integers(0, (1 << 64) - 1),
    FieldDescriptor.TYPE_INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_SINT32: st.integers(-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_ENUM: st.integers(0, 5),
    FieldDescriptor.TYPE_UINT32: st.integers(0, (1 << 32) - 1),
    FieldDescriptor.TYPE_FIXED32: st.integers(0, (1 << 32) - 1),
}


@st.composite
def requests(draw: st.DrawFn) -> tuple[Signal, Message]:
    """A signal and a request of it: every field of every message may be there, also twice as deep as real ones."""
    signal = draw(st.sampled_from(SIGNALS))
    message = REQUESTS[signal]()
    _fill(draw, message, message.DESCRIPTOR, 0)
    return signal, message


def as_json(message: Message) -> dict[str, Any]:
    """The message in OTLP's JSON form: protobuf's own mapping with integers for enums and hex for ids."""
    said: dict[str, Any] = _hexed(MessageToDict(message, use_integers_for_enums=True))
    return said


def numbers_as_numbers(said: Any) -> Any:
    """The same JSON with 64-bit integers as numbers where the mapping made them strings."""
    if isinstance(said, dict):
        return {key: int(value) if isinstance(value, str) and (key == "intValue" or key.endswith("Nano")) else
                numbers_as_numbers(value) for key, value in said.items()}
    return [numbers_as_numbers(item) for item in said] if isinstance(said, list) else said


def _hexed(said: Any) -> Any:
    if isinstance(said, dict):
        return {key: base64.b64decode(value).hex() if key in _HEX_KEYS else _hexed(value) for key, value in said.items()}
    return [_hexed(item) for item in said] if isinstance(said, list) else said


def _fill(draw: st.DrawFn, message: Message, kind: Descriptor, depth: int) -> None:
    taken: set[str] = set()
    for field in kind.fields:
        oneof = field.containing_oneof
        if (oneof is not None and oneof.name in taken) or draw(st.integers(0, 1 if depth < 4 else 2)) == 1:
            continue
        if oneof is not None:
            taken.add(oneof.name)
        if field.message_type is None:
            value = draw(st.lists(_SCALARS[field.type], max_size=2) if field.is_repeated else _SCALARS[field.type])
            if field.is_repeated:
                getattr(message, field.name).extend(value)
            else:
                setattr(message, field.name, value)
        elif depth < _DEPTH:
            for _ in range(draw(st.integers(1, 2)) if field.is_repeated else 1):
                part = getattr(message, field.name)
                inner = part.add() if field.is_repeated else part
                if not field.is_repeated:
                    part.SetInParent()
                _fill(draw, inner, field.message_type, depth + 1)
