"""OTLP attributes as the tables hold them: typed columns where the contract names the key, text in a MAP for the rest."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from collectors.decode.limits import Drops, Limits
from collectors.decode.prompt_text import body_holds_text, holds_text, without_quotes

INT64_MAX = (1 << 63) - 1
MAP = pa.map_(pa.string(), pa.string())


class Undecodable(ValueError):
    """A record that cannot become a row; the message is the reason that ``rejects`` keeps."""


def cut(text: str, chars: int, drops: Drops) -> str:
    """The first ``chars`` characters; what is longer is counted."""
    if len(text) <= chars:
        return text
    drops["text_length"] += 1
    return text[:chars]


def text_of(value: AnyValue, limits: Limits, drops: Drops) -> str | None:
    """An attribute's value as text: strings as they are, JSON for lists and maps, base64 for bytes, None if unset.

    It is cut at the limit, and lists and maps have no members that hold prompt text. Numbers that JSON does not have are
    strings inside of lists and maps, as protobuf's JSON mapping writes them: "NaN", "Infinity", "-Infinity".
    """
    text = value.string_value or _plain_text(value, limits, drops)
    return text if text is None or len(text) <= limits.value_chars else cut(text, limits.value_chars, drops)


def body_text(body: AnyValue, event_name: str, limits: Limits, drops: Drops) -> str | None:
    """A log body as text, as ``text_of``, with the limit of bodies; None too when it is prompt text by its event's name."""
    if not limits.keep_text and body_holds_text(event_name) and body.WhichOneof("value") is not None:
        drops["prompt_text"] += 1
        return None
    text = body.string_value or _plain_text(body, limits, drops)
    if text is None:
        return None
    return cut(text if limits.keep_text else without_quotes(text, drops), limits.body_chars, drops)


def first_ones(attributes: Sequence[KeyValue], limits: Limits, drops: Drops) -> Sequence[KeyValue]:
    """As many attributes as a record may have; the others are counted."""
    over = len(attributes) - limits.attributes
    if over <= 0:
        return attributes
    drops["attribute_count"] += over
    return attributes[: limits.attributes]


def text_map(attributes: Sequence[KeyValue], limits: Limits, drops: Drops, event_name: str = "") -> dict[str, str | None]:
    """Attributes as key -> text, in order, within the limits and without prompt text; the last wins where a key comes twice.

    ``event_name`` is that of the event or log record they are of.
    """
    texts: dict[str, str | None] = {}
    for attribute in first_ones(attributes, limits, drops):
        key = attribute.key
        if not limits.keep_text and holds_text(key, event_name):
            drops["prompt_text"] += 1
        else:
            texts[cut(key, limits.value_chars, drops)] = text_of(attribute.value, limits, drops)
    return texts


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
    if len(set(map(id, rows))) == 1 and not rows[0]:
        return pa.MapArray.from_arrays(pa.array(np.zeros(len(rows) + 1, np.int32)), pa.array([], pa.string()),
                                       pa.array([], pa.string()), MAP)
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


def _plain_text(value: AnyValue, limits: Limits, drops: Drops) -> str | None:
    plain = _plain(value, limits, drops)
    if isinstance(plain, (list, dict)):
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return None if plain is None else str(plain)


def _plain(value: AnyValue, limits: Limits, drops: Drops) -> Any:
    which = value.WhichOneof("value")
    if which is None:
        return None
    if which == "array_value":
        return [_finite(_plain(item, limits, drops)) for item in value.array_value.values]
    if which == "kvlist_value":
        members: dict[str, Any] = {}
        for item in value.kvlist_value.values:
            if not limits.keep_text and holds_text(item.key):
                drops["prompt_text"] += 1
            else:
                members[item.key] = _finite(_plain(item.value, limits, drops))
        return members
    if which == "bytes_value":
        return base64.b64encode(value.bytes_value).decode("ascii")
    return getattr(value, which)


def _finite(plain: Any) -> Any:
    if not isinstance(plain, float) or math.isfinite(plain):
        return plain
    return "NaN" if math.isnan(plain) else "Infinity" if plain > 0 else "-Infinity"
