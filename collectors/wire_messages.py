"""OTLP bytes -> Arrow by ptars, through descriptors of our own.

ptars refuses recursive messages, and OTLP's AnyValue is one. Fields of the same wire type can be declared otherwise: a
message, a list or a map as ``bytes`` stays as it was sent. What is not declared is skipped. ptars does not resolve a oneof:
each member is given as it came, so that a reader sees when two were sent. A field that is ``optional`` is NULL when it was
not sent, where another is 0 or empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ptars
import pyarrow as pa
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

Read = Callable[[Sequence[bytes]], pa.RecordBatch]
"""Bodies -> one row each. Raises ValueError for bytes that are no such message."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field by name and number. ``kind``: protobuf's name of a scalar type, or the name of one of the messages."""

    name: str
    number: int
    kind: str
    many: bool = False
    optional: bool = False


def reader(package: str, messages: Mapping[str, Sequence[Field]]) -> Read:
    """What reads bodies of the first of ``messages``. ``package`` is a name that no other reader has."""
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field in fields:
            scalar = field.kind not in messages
            made = message.field.add(
                name=field.name, number=field.number,
                label=FieldDescriptorProto.LABEL_REPEATED if field.many else FieldDescriptorProto.LABEL_OPTIONAL,
                type=FieldDescriptorProto.Type.Value(f"TYPE_{field.kind.upper() if scalar else 'MESSAGE'}"))
            if not scalar:
                made.type_name = f".{package}.{field.kind}"
            if field.optional:
                made.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"has_{field.name}")
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    top = pool.FindMessageTypeByName(f"{package}.{next(iter(messages))}")
    read: Read = ptars.HandlerPool([top.file]).get_for_message(top).list_to_record_batch
    return read
