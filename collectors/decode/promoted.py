"""Which span attributes have a column of their own, and how a value becomes the column's type.

Keys come from ``schema.py``: the first name of a column's ``source`` and its aliases. vLLM's ``gen_ai.latency.*`` are
seconds as doubles; its time in queue nests KV-transfer waits, which it does not tell apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from collectors.schema import ATTEMPT_COLUMNS, SPANS

Read = Callable[[AnyValue], "int | str | None"]

_SECONDS = {
    "gen_ai.latency.time_to_first_token": "ttft_ns",
    "gen_ai.latency.e2e": "e2e_ns",
    "gen_ai.latency.time_in_queue": "queue_ns",
    "gen_ai.latency.time_in_model_prefill": "prefill_ns",
    "gen_ai.latency.time_in_model_decode": "decode_ns",
}
"""Attributes in seconds (vllm/tracing/utils.py) and the columns in ns that they fill."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Place of a promoted attribute in ``ATTEMPT_COLUMNS``, and the reader of its value: None if it does not fit.

    ``form`` is what the value is as a rule: text and integers go to the column as they are, seconds are doubles.
    """

    place: int
    read: Read
    form: Literal["text", "integer", "seconds"]


def slots() -> dict[str, Slot]:
    """Attribute key -> slot, for every key that the contract promotes."""
    found: dict[str, Slot] = {}
    for place, name in enumerate(ATTEMPT_COLUMNS):
        column = SPANS.column(name)
        read = _read_text if column.type == pa.string() else _read_int64 if column.type == pa.int64() else _read_int32
        for key in column.source.split(","):
            found[key.strip()] = Slot(place, read, "text" if read is _read_text else "integer")
    for key, name in _SECONDS.items():
        found[key] = Slot(ATTEMPT_COLUMNS.index(name), _read_seconds, "seconds")
    return found


def _read_text(value: AnyValue) -> str | None:
    text = value.string_value
    if text:
        return text
    which = value.WhichOneof("value")
    return text if which == "string_value" else str(value.int_value) if which == "int_value" else None


def _read_int64(value: AnyValue) -> int | None:
    number = value.int_value
    if number:
        return number
    which = value.WhichOneof("value")
    if which == "int_value":
        return number
    if which == "double_value":
        real = value.double_value
        return int(real) if real.is_integer() and abs(real) < 1 << 63 else None
    text = value.string_value
    if len(text) <= 20 and text.isascii() and text.removeprefix("-").isdigit():
        number = int(text)
        return number if str(number) == text and -(1 << 63) <= number < 1 << 63 else None
    return None


def _read_int32(value: AnyValue) -> int | None:
    number = _read_int64(value)
    return number if number is not None and -(1 << 31) <= number < 1 << 31 else None


def _read_seconds(value: AnyValue) -> int | None:
    which = value.WhichOneof("value")
    seconds = value.double_value if which == "double_value" else value.int_value if which == "int_value" else None
    return round(seconds * 1e9) if seconds is not None and abs(seconds) < 9e9 else None
