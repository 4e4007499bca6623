"""OTLP attributes as the tables hold them: typed columns where the contract names the key, text in a MAP for the rest."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

INT64_MAX = (1 << 63) - 1
MAP = pa.map_(pa.string(), pa.string())


class Undecodable(ValueError):
    """A record that cannot become a row; the message is the reason that ``rejects`` keeps."""


def text_of(value: AnyValue) -> str | None:
    """An attribute's value as text: strings as they are, JSON for lists and maps, base64 for bytes, None if unset.

    Numbers that JSON does not have are strings inside of lists and maps, as protobuf's JSON mapping writes them: "NaN",
    "Infinity", "-Infinity".
    """
    text = value.string_value
    if text:
        return text
    plain = _plain(value)
    if isinstance(plain, (list, dict)):
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return None if plain is None else str(plain)


def text_map(attributes: Iterable[KeyValue]) -> dict[str, str | None]:
    """Attributes as key -> text, in order; the last one wins where a key comes twice."""
    return {attribute.key: text_of(attribute.value) for attribute in attributes}


def time_of(ns: int) -> int:
    """``ns`` (unsigned, from OTLP) of a record; Undecodable when it is missing (0) or the contract's 64 bits do not hold it."""
    if ns == 0:
        raise Undecodable("it has no time")
    if ns > INT64_MAX:
        raise Undecodable(f"time {ns} ns is beyond the year 2262")
    return ns


def time_or_none(ns: int) -> int | None:
    """As ``time_of``, and None when it is missing."""
    return time_of(ns) if ns else None


def map_array(rows: Sequence[dict[str, str | None]]) -> pa.Array:
    """Rows of key -> text as one MAP array; equal dictionaries (the same object) are built once."""
    unique: dict[int, int] = {}
    distinct: list[dict[str, str | None]] = []
    places: list[int] = []
    for row in rows:
        place = unique.get(id(row))
        if place is None:
            place = unique[id(row)] = len(distinct)
            distinct.append(row)
        places.append(place)
    offsets = [0]
    keys: list[str] = []
    values: list[str | None] = []
    for row in distinct:
        keys += row.keys()
        values += row.values()
        offsets.append(len(keys))
    array = pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(keys, pa.string()), pa.array(values, pa.string()), MAP)
    return array if len(distinct) == len(rows) else array.take(pa.array(places, pa.int64()))


def _plain(value: AnyValue) -> Any:
    which = value.WhichOneof("value")
    if which is None:
        return None
    if which == "array_value":
        return [_finite(_plain(item)) for item in value.array_value.values]
    if which == "kvlist_value":
        return {item.key: _finite(_plain(item.value)) for item in value.kvlist_value.values}
    if which == "bytes_value":
        return base64.b64encode(value.bytes_value).decode("ascii")
    return getattr(value, which)


def _finite(plain: Any) -> Any:
    if not isinstance(plain, float) or math.isfinite(plain):
        return plain
    return "NaN" if math.isnan(plain) else "Infinity" if plain > 0 else "-Infinity"
