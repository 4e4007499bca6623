"""Lists in Arrow as numpy sees them: whose child each value is, and lists of bytes as keys that can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def offsets_of(lists: pa.Array) -> Ints:
    """Where each list (or text) begins among the values, and where the last one ends."""
    return np.frombuffer(lists.buffers()[1], np.int32)[lists.offset : lists.offset + len(lists) + 1].astype(np.int64) if len(
        lists) else np.zeros(1, np.int64)


def parents(offsets: Ints) -> Ints:
    """The list that each value is in."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """starts[0], starts[0] + 1, ..., and so on for each of the ranges: where to take the values of chosen lists."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


def whole(numbers: pa.Array) -> npt.NDArray[Any]:
    """Numbers as numpy, 0 for NULL."""
    filled = numbers.fill_null(False if pa.types.is_boolean(numbers.type) else 0) if numbers.null_count else numbers
    numpy: npt.NDArray[Any] = filled.to_numpy(zero_copy_only=False)
    return numpy


def given(array: pa.Array) -> Bools:
    """Which values are not NULL."""
    if not array.null_count:
        return np.ones(len(array), np.bool_)
    valid: Bools = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def first_places(codes: Ints, kinds: int) -> Ints:
    """Where each of the codes 0 to ``kinds`` - 1 comes first."""
    first = np.zeros(kinds, np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    return first


def encoded(arrays: Sequence[pa.Array]) -> tuple[Ints, pa.Array]:
    """The values of all arrays, one after the other, as codes of the distinct ones."""
    chunks = pa.chunked_array(arrays, arrays[0].type).dictionary_encode().chunks
    if not chunks:
        return np.zeros(0, np.int64), arrays[0]
    return np.concatenate([chunk.indices.to_numpy() for chunk in chunks]).astype(np.int64), chunks[-1].dictionary


def joined(lists: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Of each list of byte strings: its items one after the other, and their lengths as bytes. Together they are a key."""
    offsets, items = offsets_of(lists), lists.values
    places = offsets_of(items)
    return (_binary(places[offsets], items.buffers()[2]),
            _binary(4 * offsets, pa.py_buffer(np.diff(places).astype(np.int32).tobytes())))


def _binary(offsets: Ints, data: pa.Buffer | None) -> pa.Array:
    buffers = [None, pa.py_buffer(offsets.astype(np.int32).tobytes()), data or pa.py_buffer(b"")]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def items_of(key: bytes, lengths: bytes) -> list[bytes]:
    """The items that ``joined`` made a key of."""
    ends = np.cumsum(np.frombuffer(lengths, np.int32)).tolist()
    return [key[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
