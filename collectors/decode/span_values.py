"""The attributes of many spans at once: which become typed columns, which go to the MAP, and as what text.

The rules are those of ``promoted.py`` and ``attributes.py``. Values of the type that a column expects are moved as arrays;
any other value of a promoted key goes through the very reader of ``promoted.py``, one by one.
"""

from __future__ import annotations

import base64

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValueList

from collectors.decode.attributes import MAP, text_of
from collectors.decode.limits import Drops, Limits
from collectors.decode.promoted import Slot, slots
from collectors.decode.prompt_text import holds_text
from collectors.decode.wire_arrow import Ints, Mask, Members, byte_lengths, plain_values, valid
from collectors.schema import ATTEMPT_COLUMNS, SPANS

_SLOTS = slots()
_TYPES = tuple(SPANS.column(name).type for name in ATTEMPT_COLUMNS)
_MOST_SECONDS = 9e9
_MOST_BITS = 512
"""Distinct keys up to which a bit for each is cheaper than sorting."""


class SpanValues:
    """``lists``: the attributes of each span, as ``wire_arrow.SPANS`` reads them, each with exactly one value."""

    def __init__(self, lists: Members, limits: Limits) -> None:
        self._lists, self._limits = lists, limits
        self._owners = lists.owners
        keys, values = lists.values.flatten()
        encoded = keys.dictionary_encode()
        self._keys: pa.Array = encoded.dictionary
        self._names: list[str] = self._keys.to_pylist()
        self._codes = encoded.indices.to_numpy()
        members = Members.of(values).values.flatten()
        self._strings, self._bools, self._ints, self._doubles, arrays, maps, self._bytes = members
        self._arrays, self._maps = Members.of(arrays), Members.of(maps)
        self._has_text, self._has_int, self._has_double = valid(self._strings), valid(self._ints), valid(self._doubles)
        private = [name not in _SLOTS and not limits.keep_text and holds_text(name) for name in self._names]
        self._private = np.array(private, np.bool_)[self._codes]
        self._odd_texts: dict[int, str | None] = {}

    @staticmethod
    def lacking(lists: Members) -> Ints:
        """The spans of ``lists`` with an attribute that has no value or several: no SpanValues can be made of them."""
        counts = Members.of(lists.values.field(1)).counts
        found: Ints = lists.owners[counts != 1]
        return found

    def odd(self) -> Mask:
        """Spans that the official classes should read: with attributes that are too long, a key or a column that comes
        twice, a value of two types at once, a list or map that does not parse or that the limits touch."""
        types = self._arrays.counts + self._maps.counts
        for column in (self._strings, self._bools, self._ints, self._doubles, self._bytes):
            if column.null_count < len(column):
                types += valid(column)
        bad = types > 1
        bad |= (byte_lengths(self._keys) > self._limits.value_chars)[self._codes]
        bad |= ~self._private & (byte_lengths(self._strings) > self._limits.value_chars)
        bad[self._unfit()] = True
        odd = np.zeros(len(self._lists.counts), np.bool_)
        odd[self._owners[bad]] = True
        places = np.array([_SLOTS[name].place if name in _SLOTS else -1 for name in self._names], np.int64)
        odd |= _twice(self._lists, self._codes, np.arange(len(self._names)))
        return odd | _twice(self._lists, self._codes, places)

    def private(self) -> int:
        """Attributes with prompt text, which are in no column."""
        return int(self._private.sum())

    def texts(self) -> pa.Array:
        """The MAP of all attributes but those with prompt text, none of them promoted."""
        return self._map(np.arange(len(self._lists.offsets) - 1), ~self._private)

    def columns(self, rows: Ints) -> tuple[list[pa.Array], pa.Array]:
        """The promoted columns, in the order of ``ATTEMPT_COLUMNS``, and the MAP of the rest; span i is row ``rows[i]``."""
        rest = ~self._private
        columns: list[_Column | None] = [None] * len(ATTEMPT_COLUMNS)
        codes = self._codes.astype(np.int16) if len(self._names) < 1 << 15 else self._codes
        for code, name in enumerate(self._names):
            slot = _SLOTS.get(name)
            if slot is None or (holds_text(name) and not self._limits.keep_text):
                continue
            at = np.flatnonzero(codes == code)
            column = columns[slot.place] = columns[slot.place] or _Column(len(rows))
            self._promote(slot, at, rows[self._owners[at]], column, rest)
        arrays = [pa.nulls(len(rows), kind) if column is None else column.array(kind, self._strings)
                  for column, kind in zip(columns, _TYPES, strict=True)]
        return arrays, self._map(rows, rest)

    def _promote(self, slot: Slot, at: Ints, rows: Ints, column: _Column, rest: Mask) -> None:
        """Put what the attributes ``at`` hold into ``column`` at ``rows``; what went there is no longer of the rest."""
        if slot.form == "text":
            fits, values = self._has_text[at], at
        elif slot.form == "integer":
            fits, values = self._has_int[at], plain_values(self._ints)[at]
            if _TYPES[slot.place] == pa.int32():
                fits = fits & (values >= -(1 << 31)) & (values < 1 << 31)
        else:
            seconds = plain_values(self._doubles)[at]
            fits = self._has_double[at] & (np.abs(seconds) < _MOST_SECONDS)
            values = np.rint(np.where(fits, seconds, 0.0) * 1e9).astype(np.int64)
        column.values[rows[fits]] = values[fits]
        column.filled[rows[fits]] = True
        rest[at[fits]] = False
        for place, row in zip(at[~fits].tolist(), rows[~fits].tolist(), strict=True):
            value = slot.read(self._any_value(place))
            if value is not None:
                column.odd[row] = value
                rest[place] = False

    def _map(self, rows: Ints, rest: Mask) -> pa.Array:
        order = _members_in_order(self._lists, rows)
        order = np.flatnonzero(rest) if order is None else order[rest[order]]
        counts = np.bincount(rows[self._owners[order]], minlength=len(rows))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        keys = self._keys.take(pa.array(self._codes[order]))
        return pa.MapArray.from_arrays(pa.array(offsets), keys, self._texts(order), MAP)

    def _texts(self, order: Ints) -> pa.Array:
        """The texts of the attributes ``order``, each of one type: those of one type after those of another, then taken."""
        parts, at = [self._strings], order.copy()
        begin = len(self._strings)
        for has, values in ((self._has_int, self._ints), (valid(self._bools), self._bools)):
            rows = np.flatnonzero(has[order]) if values.null_count < len(values) else order[:0]
            parts.append(values.take(pa.array(order[rows])).cast(pa.string()))
            at[rows] = begin + np.arange(len(rows))
            begin += len(rows)
        rows = np.flatnonzero(self._has_double[order])
        distinct, which = np.unique(plain_values(self._doubles)[order[rows]].view(np.int64), return_inverse=True)
        at[rows] = begin + which
        texts: list[str | None] = [str(number) for number in distinct.view(np.float64).tolist()]
        if self._odd_texts:
            places = np.full(len(self._strings), -1, np.int64)
            places[list(self._odd_texts)] = begin + len(texts) + np.arange(len(self._odd_texts))
            found = places[order]
            at[found >= 0] = found[found >= 0]
            texts += self._odd_texts.values()
        return pa.concat_arrays([*parts, pa.array(texts, pa.string())]).take(pa.array(at))

    def _unfit(self) -> list[int]:
        """Attributes with lists, maps or bytes that do not parse or that the limits touch; the texts of others are noted."""
        found, drops = [], Drops()
        for members, message in ((self._arrays, ArrayValue), (self._maps, KeyValueList)):
            for place in np.flatnonzero(members.counts).tolist():
                try:
                    parsed = message.FromString(members.values[int(members.offsets[place])].as_py())
                except DecodeError:
                    found.append(place)
                    continue
                value = AnyValue(array_value=parsed) if message is ArrayValue else AnyValue(kvlist_value=parsed)
                self._odd_texts[place] = text_of(value, self._limits, drops)
                if drops:
                    found.append(place)
                    drops.clear()
        for place in np.flatnonzero(valid(self._bytes)).tolist():
            text = base64.b64encode(self._bytes[place].as_py()).decode("ascii")
            self._odd_texts[place] = text
            if len(text) > self._limits.value_chars:
                found.append(place)
        return found

    def _any_value(self, place: int) -> AnyValue:
        if self._has_text[place]:
            return AnyValue(string_value=self._strings[place].as_py())
        if self._has_int[place]:
            return AnyValue(int_value=self._ints[place].as_py())
        if self._has_double[place]:
            return AnyValue(double_value=self._doubles[place].as_py())
        return AnyValue()


class _Column:
    """A promoted column while it is filled: ``values`` are integers, or for text the places of the attributes."""

    def __init__(self, length: int) -> None:
        self.values = np.zeros(length, np.int64)
        self.filled = np.zeros(length, np.bool_)
        self.odd: dict[int, int | str] = {}

    def array(self, kind: pa.DataType, strings: pa.Array) -> pa.Array:
        """As Arrow, NULL where nothing was filled in; ``strings`` are the attributes' texts."""
        array = pa.array(self.values, mask=~self.filled)
        array = strings.take(array) if kind == pa.string() else array.cast(kind)
        if not self.odd:
            return array
        values = array.to_pylist()
        for row, value in self.odd.items():
            values[row] = value
        return pa.array(values, kind)


def _members_in_order(lists: Members, rows: Ints) -> Ints | None:
    """Places of all members, list by list in the order of ``rows``; None when they lie so."""
    if (rows[1:] > rows[:-1]).all():
        return None
    order = np.empty(len(rows), np.int64)
    order[rows] = np.arange(len(rows))
    counts = lists.counts[order]
    begins = np.cumsum(counts) - counts
    found: Ints = np.arange(len(lists.values)) + np.repeat(lists.offsets[:-1][order] - begins, counts)
    return found


def _twice(lists: Members, codes: npt.NDArray[np.integer], what: Ints) -> Mask:
    """Lists in which two members are the same thing; a member is ``what[its code]``, and no thing if that is negative."""
    found: Mask = np.zeros(len(lists.counts), np.bool_)
    if int(what.max(initial=0)) >= _MOST_BITS:
        pairs = np.sort((lists.owners * (int(what.max()) + 1) + what[codes])[what[codes] >= 0])
        found[pairs[1:][pairs[1:] == pairs[:-1]] // (int(what.max()) + 1)] = True
        return found
    some = np.flatnonzero(lists.counts)
    if not len(some) or not len(what):
        return found
    begins = lists.offsets[:-1][some]
    things = np.add.reduceat((what >= 0).astype(np.int64)[codes], begins)
    distinct = np.zeros(len(some), np.int64)
    for first in range(0, int(what.max()) + 1, 64):
        within = (what >= first) & (what < first + 64)
        bits = np.where(within, np.uint64(1) << (np.maximum(what - first, 0) & 63).astype(np.uint64), np.uint64(0))
        distinct += np.bitwise_count(np.bitwise_or.reduceat(bits[codes], begins))
    found[some] = distinct < things
    return found
