"""OTLP's JSON form into its binary form, driven by the messages' own descriptors.

OTLP differs from protobuf's JSON mapping: ids are hex, enums are integers alone, names are lowerCamelCase alone and unknown
names are ignored. So protobuf's own JSON parser, which reads ids as base64, is not used.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from collectors.receive.bad_request import BadRequest
from collectors.receive.well_formed import MAX_DEPTH, REQUESTS
from collectors.sink import Signal

MOST_MESSAGES = 1 << 20
"""Messages of one body: a few bytes of JSON for each take 200 in memory."""
_PATH_NAMES = 12
_HEX = frozenset({"trace_id", "span_id", "parent_span_id"})
_WHOLE = re.compile(r"-?[0-9]{1,20}")
_REAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|NaN|-?Infinity")


class _Wrong(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path: list[str] = []


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    repeated: bool
    oneof: str | None
    inner: Descriptor | None
    scalar: Callable[[Any], Any]


def to_protobuf(signal: Signal, body: bytes) -> bytes:
    """The Export*ServiceRequest that ``body`` says, in binary form.

    Raises BadRequest (``malformed``), naming the field, for what is no JSON in UTF-8 or no OTLP: wrong types, numbers out of
    range, ids that are no hex (their length is not looked at), names of enum values, two values of a oneof, too deep nesting;
    ``too_large`` beyond MOST_MESSAGES.
    """
    message = REQUESTS[signal]()
    try:
        _Reader().fill(message, message.DESCRIPTOR, _loaded(body), MAX_DEPTH)
    except _Wrong as wrong:
        at = ".".join(wrong.path[: -_PATH_NAMES - 1 : -1]) or "the body"
        raise BadRequest("malformed", f"{at}: {wrong}") from None
    binary: bytes = message.SerializeToString()
    return binary


def _loaded(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise _Wrong("is no UTF-8") from None
    except json.JSONDecodeError as error:
        raise _Wrong(f"is no JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise _Wrong("is nested too deep") from None
    except ValueError:
        raise _Wrong("holds a number of too many digits") from None


def _no_constant(constant: str) -> NoReturn:
    raise _Wrong(f"{constant} is no JSON; write it as a string")


class _Reader:
    """Fills messages from JSON values, MOST_MESSAGES of them at most."""

    def __init__(self) -> None:
        self._left = MOST_MESSAGES

    def fill(self, message: Message, kind: Descriptor, given: Any, depth: int) -> None:
        """``depth``: messages that may still be inside each other, this one counted. Raises _Wrong, BadRequest."""
        if type(given) is not dict:
            raise _Wrong("must be an object")
        if not depth:
            raise _Wrong("is nested too deep")
        self._left -= 1
        if not self._left:
            raise BadRequest("too_large", f"the body holds more than {MOST_MESSAGES} objects")
        fields = _fields(kind)
        for key, value in given.items():
            field = fields.get(key)
            if field is None or value is None:
                continue
            try:
                if field.oneof is not None and message.WhichOneof(field.oneof) is not None:
                    raise _Wrong("is a second value where one is allowed")
                self._set(message, field, value, depth - 1)
            except _Wrong as wrong:
                wrong.path.append(key)
                raise
            except ValueError:
                raise _at(key, "is out of range, or text that is no Unicode") from None

    def _set(self, message: Message, field: _Field, value: Any, depth: int) -> None:
        if field.repeated:
            if type(value) is not list:
                raise _Wrong("must be an array")
            members = getattr(message, field.name)
            if field.inner is None:
                members.extend(map(field.scalar, value))
            else:
                for item in value:
                    self.fill(members.add(), field.inner, item, depth)
        elif field.inner is None:
            setattr(message, field.name, field.scalar(value))
        else:
            part = getattr(message, field.name)
            part.SetInParent()
            self.fill(part, field.inner, value, depth)


def _at(key: str, reason: str) -> _Wrong:
    wrong = _Wrong(reason)
    wrong.path.append(key)
    return wrong


@functools.cache
def _fields(kind: Descriptor) -> Mapping[str, _Field]:
    return {field.json_name: _Field(field.name, field.is_repeated, _oneof(field), field.message_type, _scalar(field))
            for field in kind.fields}


def _oneof(field: FieldDescriptor) -> str | None:
    oneof = field.containing_oneof
    return oneof.name if oneof is not None and len(oneof.fields) > 1 else None


def _scalar(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _hex if field.name in _HEX else _base64
    return {FieldDescriptor.CPPTYPE_STRING: _text, FieldDescriptor.CPPTYPE_BOOL: _boolean, FieldDescriptor.CPPTYPE_ENUM: _enum,
            FieldDescriptor.CPPTYPE_DOUBLE: _real, FieldDescriptor.CPPTYPE_FLOAT: _real}.get(field.cpp_type, _whole)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _Wrong("must be a string")
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise _Wrong("must be true or false")
    return value


def _enum(value: Any) -> int:
    if type(value) is not int:
        raise _Wrong("must be the enum value's integer")
    return value


def _whole(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is str and _WHOLE.fullmatch(value):
        return int(value)
    if type(value) is float and value.is_integer():
        return int(value)
    raise _Wrong("must be an integer, or one as a string")


def _real(value: Any) -> float:
    if type(value) is str and _REAL.fullmatch(value):
        number = float(value)
        if math.isfinite(number) or value[-1] in "Ny":
            return number
    elif type(value) in (int, float):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise _Wrong("must be a number within a double's range, or NaN, Infinity or -Infinity as a string")


def _hex(value: Any) -> bytes:
    try:
        return binascii.unhexlify(_text(value))
    except ValueError:
        raise _Wrong("must be hexadecimal, two digits a byte") from None


def _base64(value: Any) -> bytes:
    text = _text(value).rstrip("=")
    try:
        return base64.b64decode(text.translate(_URL_SAFE) + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise _Wrong("must be base64") from None


_URL_SAFE = str.maketrans("-_", "+/")
