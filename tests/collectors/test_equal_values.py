"""Codes and keys tell values apart exactly as Python does."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from collectors.decode.block_shapes import LEAST_POINTS, Section, Texts, block_shapes
from collectors.decode.equal_values import as_bytes, empty, encoded, first_places, items_of, joined, ranges
from collectors.decode.wire_arrow import Members

LISTS = st.lists(st.lists(st.binary(max_size=3), max_size=3), max_size=6)


def members(lists: list[list[bytes]]) -> Members:
    return Members.of(pa.array(lists, pa.list_(pa.binary())))


@given(LISTS)
def test_lists_have_one_key_if_and_only_if_they_are_equal(lists: list[list[bytes]]) -> None:
    """Also those that are the same bytes, cut elsewhere."""
    keys = list(zip(*(part.to_pylist() for part in joined(members(lists))), strict=True))
    assert [items_of(*key) for key in keys] == lists
    assert all((keys[a] == keys[b]) == (lists[a] == lists[b]) for a in range(len(lists)) for b in range(len(lists)))


@given(st.lists(st.lists(st.sampled_from([b"a", b"b", b""]), max_size=5), min_size=1, max_size=3))
def test_codes_are_one_numbering_across_arrays_and_know_where_each_value_comes_first(parts: list[list[bytes]]) -> None:
    codes, distinct = encoded([pa.array(part, pa.binary()) for part in parts])
    values = [value for part in parts for value in part]
    assert [distinct[code].as_py() for code in codes.tolist()] == values and len(distinct) == len(set(values))
    assert first_places(codes, len(distinct)).tolist() == [values.index(value) for value in distinct.to_pylist()]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=5))
def test_ranges_follow_each_other(wanted: list[tuple[int, int]]) -> None:
    starts, lengths = (np.array([pair[at] for pair in wanted], np.int64) for at in (0, 1))
    assert ranges(starts, lengths).tolist() == [start + at for start, length in wanted for at in range(length)]


@given(st.lists(st.lists(st.sampled_from([0.0, -0.0, 1.5, float("nan")]), max_size=3), max_size=4))
def test_bounds_are_told_apart_by_their_bits(lists: list[list[float]]) -> None:
    got = as_bytes(Members.of(pa.array(lists, pa.list_(pa.float64())))).to_pylist()
    assert [np.array(one).tobytes() for one in lists] == got
    assert empty(len(lists)).to_pylist() == [b""] * len(lists)


Block = tuple[str | None, list[tuple[str, list[bytes]]]]
BLOCKS = st.lists(st.tuples(st.sampled_from([None, "None", "replica:r0"]), st.lists(st.tuples(
    st.sampled_from(["m", "n", "mn"]), st.lists(st.sampled_from([b"", b"a", b"aa"]), max_size=2)), max_size=3)),
    min_size=1, max_size=5)


@given(BLOCKS)
def test_blocks_have_one_shape_if_and_only_if_they_say_the_same(blocks: list[Block]) -> None:
    """Each block gets the same long metric behind its own, so that none is too short for a shape."""
    tail = ("tail", [b"x"] * LEAST_POINTS)
    metrics = [metric for _, own in blocks for metric in (*own, tail)]
    ends = np.cumsum([0, *(len(own) + 1 for _, own in blocks)])
    points = pa.array([label for _, labels in metrics for label in labels], pa.binary())
    section = Section(np.array([len(labels) for _, labels in metrics]), [Texts(points)], begin=5)
    shapes = list(block_shapes(ends, [entity for entity, _ in blocks], pa.array([name for name, _ in metrics]), [section]))
    assert len(shapes) == len(blocks)
    assert np.concatenate([places for _, places in shapes]).tolist() == list(range(5, 5 + len(points)))
    for shape, block in zip(shapes, blocks, strict=True):
        assert [shape[0] == other[0] for other in shapes] == [block == other for other in blocks]
