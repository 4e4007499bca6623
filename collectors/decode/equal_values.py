"""Codes instead of values, and lists of bytes as keys: what makes equal things in Arrow arrays one thing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import pyarrow as pa

from collectors.decode.wire_arrow import Ints, Members, byte_offsets, plain_values


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """starts[0], starts[0] + 1, ..., and so on for each of the ranges: where to take the values of chosen lists."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


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


def joined(lists: Members) -> tuple[pa.Array, pa.Array]:
    """Of each list of byte strings: its items one after the other, and their lengths as bytes. Together they are a key."""
    places = byte_offsets(lists.values).astype(np.int64)
    return (_binary(places[lists.offsets], lists.values.buffers()[2]),
            _binary(4 * lists.offsets, pa.py_buffer(np.diff(places).astype(np.int32).tobytes())))


def as_bytes(lists: Members) -> pa.Array:
    """Of each list of doubles or 64-bit integers: its bytes."""
    return _binary(8 * lists.offsets, pa.py_buffer(plain_values(lists.values).tobytes()))


def empty(count: int) -> pa.Array:
    """Empty byte strings."""
    return _binary(np.zeros(count + 1, np.int64), None)


def _binary(offsets: Ints, data: pa.Buffer | None) -> pa.Array:
    buffers = [None, pa.py_buffer(offsets.astype(np.int32).tobytes()), data or pa.py_buffer(b"")]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def items_of(key: bytes, lengths: bytes) -> list[bytes]:
    """The items that ``joined`` made a key of."""
    ends = [0, *accumulate(memoryview(lengths).cast("i"))]
    return [key[begin:end] for begin, end in pairwise(ends)]
