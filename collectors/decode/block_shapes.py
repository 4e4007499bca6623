"""Which series the points of a whole resource block are of, told by everything in it but the numbers.

A source sends the same metrics with the same labels in the same order, again and again. A digest (blake2b, 128 bits) of the
entity, the names, the labels and the bounds, as they lie in the body, finds the series of all its points at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from collectors.decode.wire_arrow import Ints, byte_lengths, byte_offsets

LEAST_POINTS = 32
"""A block of fewer points is not worth a digest."""


class Texts:
    """Texts or byte strings of which ranges are digested, with their lengths."""

    def __init__(self, array: pa.Array) -> None:
        self._places = byte_offsets(array)
        self._data = memoryview(array.buffers()[2] or b"")
        self._lengths = byte_lengths(array).astype(np.int32)

    def parts(self, begin: int, end: int) -> tuple[memoryview, memoryview]:
        """What there is to digest of the members from ``begin`` to ``end``."""
        return self._data[self._places[begin] : self._places[end]], self._lengths[begin:end].data


@dataclass(frozen=True, slots=True)
class Section:
    """Points of one kind: how many each metric has, and what tells their series apart. ``begin``: their first place."""

    counts: Ints
    texts: Sequence[Texts]
    begin: int


def block_shapes(metric_ends: Ints, entities: Sequence[str | None], names: pa.Array,
                 sections: Sequence[Section]) -> Iterator[tuple[bytes, Ints]]:
    """The digest and the places of the points of each block that has many; block i has the metrics from ``metric_ends[i]``
    to ``metric_ends[i + 1]``."""
    ends = [np.concatenate([[0], np.cumsum(section.counts)])[metric_ends] for section in sections]
    names_of = Texts(names)
    for block in np.flatnonzero(np.sum([np.diff(one) for one in ends], axis=0) >= LEAST_POINTS).tolist():
        first, end = int(metric_ends[block]), int(metric_ends[block + 1])
        digest = hashlib.blake2b(repr(entities[block]).encode(), digest_size=16)
        for part in names_of.parts(first, end):
            digest.update(part)
        points = []
        for section, places in zip(sections, ends, strict=True):
            begin, stop = int(places[block]), int(places[block + 1])
            digest.update(section.counts[first:end].data)
            for texts in section.texts:
                for part in texts.parts(begin, stop):
                    digest.update(part)
            points.append(np.arange(section.begin + begin, section.begin + stop))
        yield digest.digest(), np.concatenate(points)
