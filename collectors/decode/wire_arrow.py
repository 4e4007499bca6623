"""OTLP bodies -> nested Arrow, without touching a field from Python.

``ptars`` (a Rust wheel) reads protobuf by a descriptor into Arrow. OTLP's own descriptor is recursive (AnyValue), which
Arrow is not. The descriptor here is private and says the same wire format to another depth: what is rare or recursive stays
``bytes``, to be read by the official classes where it occurs. Two of its liberties make odd bodies visible instead of
silently different: singular messages are declared repeated, so that two on the wire (which protobuf merges) are seen as
two; an AnyValue's members are seen as set one by one, so that two set at once (the last one counts) are seen too. Scalars
of AnyValue sit in a oneof, or "", 0 and false would look unset.

Of malformed bytes ptars reads some that the official classes refuse: tags and lengths beyond 32 bits, and groups a hundred
deep. Whatever the official classes read, it reads as the same.

Why ptars: traces decode 5 times as fast as with the official classes and lists (reference: 355-430k against 63-74k spans a
second and core). A wire decoder by numba does 670-890k, and takes 25-35 s of compiling at first use, 76 MB of memory, LLVM
among the dependencies, and a protobuf parser of our own that must be right on bytes from strangers. Decoding is then not
what a collector waits for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from ptars import HandlerPool, PtarsConfig

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_PACKAGE = "flashover.wire"
_SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING, "bytes": FieldDescriptorProto.TYPE_BYTES,
    "bool": FieldDescriptorProto.TYPE_BOOL, "int64": FieldDescriptorProto.TYPE_INT64,
    "int32": FieldDescriptorProto.TYPE_INT32, "uint32": FieldDescriptorProto.TYPE_UINT32,
    "double": FieldDescriptorProto.TYPE_DOUBLE, "fixed64": FieldDescriptorProto.TYPE_FIXED64,
    "sfixed64": FieldDescriptorProto.TYPE_SFIXED64,
}
VALUE = ("1 string_value oneof string, 2 bool_value oneof bool, 3 int_value oneof int64, 4 double_value oneof double, "
         "5 array_value repeated bytes, 6 kvlist_value repeated bytes, 7 bytes_value oneof bytes")
KEY_VALUE = "1 key string, 2 value repeated Value"
SPANS = {
    "Value": VALUE,
    "KeyValue": KEY_VALUE,
    "Event": "1 time fixed64, 2 name string, 3 attributes repeated bytes",
    "Link": "1 trace_id bytes, 2 span_id bytes, 3 trace_state string, 4 attributes repeated bytes",
    "Status": "2 message string, 3 code int32",
    "Span": "1 trace_id bytes, 2 span_id bytes, 3 trace_state string, 4 parent_id bytes, 5 name string, 6 kind int32, "
            "7 start fixed64, 8 end fixed64, 9 attributes repeated KeyValue, 11 events repeated Event, 13 links repeated Link, "
            "15 status repeated Status",
    "Scope": "1 scope repeated bytes, 2 records repeated Span, 3 schema_url string",
    "Block": "1 resource repeated bytes, 2 scopes repeated Scope, 3 schema_url string",
    "Request": "1 blocks repeated Block",
}
"""Messages of a traces body: field number, name, then ``repeated`` or ``oneof``, then the type."""


class WireReader:
    """Reads the bodies of one signal by a set of messages written as ``SPANS`` is; ``Request`` is a body."""

    def __init__(self, messages: dict[str, str]) -> None:
        pool = DescriptorPool()
        pool.Add(_file(messages))
        request = pool.FindMessageTypeByName(f"{_PACKAGE}.Request")
        self._handler = HandlerPool([request.file], PtarsConfig(timestamp_tz=None)).get_for_message(request)

    def read(self, bodies: Sequence[bytes]) -> tuple[pa.RecordBatch, list[int]]:
        """One row for each body that can be read, in order, and the places of the bodies that cannot."""
        try:
            return self._handler.list_to_record_batch(list(bodies)), []
        except ValueError:
            bad = self._unreadable(bodies, 0)
        skip = set(bad)
        kept = [body for place, body in enumerate(bodies) if place not in skip]
        return self._handler.list_to_record_batch(kept), bad

    def _unreadable(self, bodies: Sequence[bytes], first: int) -> list[int]:
        try:
            self._handler.list_to_record_batch(list(bodies))
        except ValueError:
            if len(bodies) == 1:
                return [first]
            half = len(bodies) // 2
            return self._unreadable(bodies[:half], first) + self._unreadable(bodies[half:], first + half)
        return []


@dataclass(frozen=True, slots=True)
class Members:
    """A list column as numpy and Arrow see it: list i holds ``values[offsets[i]:offsets[i + 1]]``."""

    offsets: Ints
    values: pa.Array

    @classmethod
    def of(cls, array: pa.ListArray) -> Members:
        """From a list column without NULLs, whatever slice of another it is."""
        offsets = array.offsets.to_numpy().astype(np.int64)
        return cls(offsets - offsets[0], array.values.slice(offsets[0], offsets[-1] - offsets[0]))

    @property
    def counts(self) -> Ints:
        """Members of each list."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Ints:
        """For each member, the list it is in."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)


def valid(array: pa.Array) -> Mask:
    """Which members are not NULL."""
    if not array.null_count:
        return np.ones(len(array), np.bool_)
    found: Mask = array.is_valid().to_numpy(zero_copy_only=False)
    return found


def plain_values(array: pa.Array) -> npt.NDArray[Any]:
    """The members of an array of numbers of a fixed width, without a copy; NULLs are any number."""
    return np.frombuffer(array.buffers()[1], array.type.to_pandas_dtype(), len(array), array.offset * array.type.bit_width // 8)


def byte_lengths(array: pa.Array) -> Ints:
    """Bytes of each member of a string or binary array; 0 for NULLs."""
    return np.diff(byte_offsets(array)).astype(np.int64)


def big_endian(array: pa.Array, width: int) -> Ints:
    """Ids: the bytes of a binary array, whose members have 8 * ``width`` bytes or none, as signed integers: (members that
    have some, width)."""
    offsets = byte_offsets(array)
    size = int(offsets[-1] - offsets[0])
    if not size:
        return np.empty((0, width), np.int64)
    return np.frombuffer(array.buffers()[2], ">i8", size // 8, int(offsets[0])).astype(np.int64).reshape(-1, width)


def byte_offsets(array: pa.Array) -> npt.NDArray[np.int32]:
    """Where the bytes of each member of a string or binary array begin in its last buffer, and where the last one's end."""
    if not len(array):
        return np.zeros(1, np.int32)
    return np.frombuffer(array.buffers()[1], np.int32, len(array) + 1, array.offset * 4)


def _file(messages: dict[str, str]) -> FileDescriptorProto:
    file = FileDescriptorProto(name="flashover/wire.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for text in fields.split(", "):
            number, field_name, *how, kind = text.split()
            field = message.field.add(name=field_name, number=int(number), label=(
                FieldDescriptorProto.LABEL_REPEATED if how == ["repeated"] else FieldDescriptorProto.LABEL_OPTIONAL))
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            if how == ["oneof"]:
                if not message.oneof_decl:
                    message.oneof_decl.add(name="value")
                field.oneof_index = 0
    return file
