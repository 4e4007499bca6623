"""Many logs bodies as arrays, before any of them has changed anything: which can be taken as they are, which cannot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValueList

from collectors.decode.decode_logs import EVENT_PREFIX, STEP
from collectors.decode.equal_values import encoded, joined
from collectors.decode.limits import Limits
from collectors.decode.prompt_text import EVENT_NAME_KEY, body_holds_text
from collectors.decode.resources import Emitter, Emitters
from collectors.decode.span_values import SpanValues
from collectors.decode.wire_arrow import (
    KEY_VALUE,
    VALUE,
    Ints,
    Mask,
    Members,
    WireReader,
    big_endian,
    byte_lengths,
    plain_values,
    valid,
)

LOGS = {
    "Value": VALUE,
    "KeyValue": KEY_VALUE,
    "Record": "1 time fixed64, 2 severity int32, 3 severity_text string, 5 body repeated Value, "
              "6 attributes repeated KeyValue, 9 trace_id bytes, 10 span_id bytes, 11 observed fixed64, 12 event_name string",
    "Scope": "2 records repeated Record",
    "Block": "1 resource repeated bytes, 2 scopes repeated Scope",
    "Request": "1 blocks repeated Block",
}
"""Messages of a logs body, as ``wire_arrow`` takes them. What is not named is skipped."""

_reader = WireReader(LOGS)
_SPACE = r"(?:[\x00-\x20]|[^\x00-\x7f])*"
_QUOTE = _SPACE + r"[:=]" + _SPACE + r"(?:array|tensor)?[\\\"'\[{(]"
MAY_QUOTE = r"(?i)(?:prompt|completion|message|id|text|input|output|content|argument)s?(?:\\?[\"'])?" + _QUOTE
"""RE2: a log line of ASCII without a match quotes no text (``prompt_text.without_quotes`` leaves it as it is)."""

_ANY_QUOTE, _NOT_ASCII = "(?i)" + _QUOTE, r"[^\x00-\x7f]"


_LISTS: dict[str, type[ArrayValue] | type[KeyValueList]] = {"array_value": ArrayValue, "kvlist_value": KeyValueList}
_PLAIN = ("string_value", "bool_value", "int_value", "double_value", *_LISTS, "bytes_value")


class LogBatch:
    """``special``: places of the records that are steps or control facts; the others are ``times``, ``severities`` and so on,
    in the order of the bodies. ``block_of``: the resource block of each of these; ``frame_of``: the body of each block.
    ``unusual``: the bodies that are not ordinary; of those nothing else holds."""

    def __init__(self, bodies: Sequence[bytes], emitters: Emitters, limits: Limits) -> None:
        self._limits = limits
        self.unusual = np.zeros(len(bodies), np.bool_)
        rows, bad = _reader.read(bodies)
        if bad:
            self.unusual[bad] = True
            return
        blocks = Members.of(rows.column(0))
        self.frame_of = blocks.owners
        resources, scopes = Members.of(blocks.values.field("resource")), Members.of(blocks.values.field("scopes"))
        self.unusual[self.frame_of[resources.counts > 1]] = True
        self.emitter_of, distinct = encoded([joined(resources)[0]])
        self.emitters: list[Emitter] = [emitters.read_bytes(resource) for resource in distinct.to_pylist()]
        records = Members.of(scopes.values.field("records"))
        self._record_block = scopes.owners[records.owners]
        self._record_body = self.frame_of[self._record_block]
        self.first_record = np.searchsorted(self._record_body, np.arange(len(bodies)))
        self._read(records.values)

    def special_blocks(self, places: Ints) -> list[int]:
        """The resource blocks of records by their places."""
        return [int(block) for block in self._record_block[places]]

    def any_body(self, row: int) -> AnyValue:
        """The body of a row as the official class has it."""
        at = int(self._body_place[row])
        if at < 0:
            return AnyValue()
        for name, found in zip(_PLAIN, self._bodies.slice(at, 1).flatten(), strict=True):
            if name in _LISTS:
                sent = Members.of(found).values.to_pylist()
                if sent:
                    return AnyValue(**{name: _LISTS[name].FromString(sent[0])})
            elif found[0].is_valid:
                return AnyValue(**{name: found[0].as_py()})
        return AnyValue()

    def _read(self, records: pa.Array) -> None:
        names = records.field("event_name")
        codes, distinct = encoded([names])
        known = distinct.to_pylist()
        special = np.array([name == STEP or name.startswith(EVENT_PREFIX) for name in known], np.bool_)[codes]
        private = [not self._limits.keep_text and body_holds_text(name) for name in known]
        self._mark(np.array(private, np.bool_)[codes])
        own, seen = plain_values(records.field("time")), plain_values(records.field("observed"))
        times = np.where(own == 0, seen, own).view(np.int64)
        self._mark((times < 0) | ((times == 0) & ~special))
        self.special = np.flatnonzero(special)
        self.special_ends = np.searchsorted(self._record_body[self.special], np.arange(len(self.unusual) + 1))
        plain = np.flatnonzero(~special)
        self._read_plain(records if not special.any() else records.take(pa.array(plain)), plain, times[plain])

    def _read_plain(self, records: pa.Array, places: Ints, times: Ints) -> None:
        most = self._limits.value_chars
        self.times, self.block_of = times, self._record_block[places]
        self.severities = plain_values(records.field("severity"))
        names, levels = records.field("event_name"), records.field("severity_text")
        unnamed = byte_lengths(names) == 0
        self._mark(places[(byte_lengths(names) > most) | (byte_lengths(levels) > most)])
        self.event_names, self.severity_texts = (
            pc.if_else(pa.array(byte_lengths(texts) == 0), None, texts) for texts in (names, levels))
        self._read_ids(records, places)
        self._read_bodies(Members.of(records.field("body")), places)
        attributes = Members.of(records.field("attributes"))
        keys = attributes.values.field("key")
        older = attributes.owners[pc.equal(keys, EVENT_NAME_KEY).to_numpy(zero_copy_only=False)]
        self._mark(places[older[unnamed[older]]])
        self._mark(places[attributes.counts > self._limits.attributes])
        self._mark(places[SpanValues.lacking(attributes)])
        if not self.unusual.any():
            values = SpanValues(attributes, self._limits)
            self._mark(places[values.odd()])
            if not self.unusual.any():
                self.private, self.attributes = values.private(), values.texts()

    def _read_ids(self, records: pa.Array, places: Ints) -> None:
        """``ids``: the columns trace_hi, trace_lo and span_id; an id of zeros is none."""
        traces, spans = records.field("trace_id"), records.field("span_id")
        lengths = byte_lengths(traces), byte_lengths(spans)
        bad = ((lengths[0] != 16) & (lengths[0] != 0)) | ((lengths[1] != 8) & (lengths[1] != 0))
        self._mark(places[bad])
        if bad.any():
            return
        trace, span = np.zeros((len(places), 2), np.int64), np.zeros(len(places), np.int64)
        trace[lengths[0] > 0] = big_endian(traces, 2)
        span[lengths[1] > 0] = big_endian(spans, 1)[:, 0]
        none = ~trace.any(axis=1)
        self.ids = [pa.array(trace[:, 0], mask=none), pa.array(trace[:, 1], mask=none), pa.array(span, mask=span == 0)]

    def _read_bodies(self, bodies: Members, places: Ints) -> None:
        """``body_strings``: those bodies that are strings; ``odd_bodies``: rows that need more than their string."""
        self._mark(places[bodies.counts > 1])
        values = bodies.values.flatten()
        types = np.sum([Members.of(found).counts if name in _LISTS else valid(found)
                        for name, found in zip(_PLAIN, values, strict=True)], axis=0, dtype=np.int64)
        self._mark(places[bodies.owners[types > 1]])
        strings = values[_PLAIN.index("string_value")]
        odd = (types > 0) & ~valid(strings)
        odd |= byte_lengths(strings) > self._limits.body_chars
        if not self._limits.keep_text:
            odd |= may_quote(strings)
        self._bodies = bodies.values
        self._body_place = np.where(bodies.counts > 0, bodies.offsets[:-1], -1)
        self.odd_bodies = bodies.owners[odd]
        self.body_strings = strings.take(pa.array(self._body_place, mask=self._body_place < 0))

    def _mark(self, which: Mask | Ints) -> None:
        self.unusual[self._record_body[which]] = True


def may_quote(lines: pa.Array) -> Mask:
    """Which lines ``prompt_text.without_quotes`` might not leave as they are."""
    found = pc.match_substring_regex(lines, MAY_QUOTE)
    other = pc.and_(pc.match_substring_regex(lines, _NOT_ASCII), pc.match_substring_regex(lines, _ANY_QUOTE))
    either: Mask = pc.or_(found, other).fill_null(False).to_numpy(zero_copy_only=False)
    return either
