"""Waves are the earliest that the order of reads and writes allows: a pairwise oracle over random block traffic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from instrumented_engine.model.ragged import Geometry
from instrumented_engine.model.runner import Chunk
from instrumented_engine.model.waves import Waves

GEOMETRY = Geometry(replicas=2, blocks=6, block_tokens=4)
chunks = st.builds(
    lambda table, start, more, sample: Chunk([1] * more, start, table[: -(-(start + more) // 4)], sample),
    st.permutations(range(6)), st.integers(0, 15), st.integers(1, 8), st.booleans(),
)  # fmt: skip
steps = st.lists(st.tuples(st.integers(0, 1), st.lists(chunks, min_size=1, max_size=3), st.integers(0, 4)), max_size=12)


def earliest(history: list[tuple[int, int, Chunk, int]], step: int, replica: int, chunk: Chunk, ready: int) -> int:
    """The first wave for ``chunk`` after the (step, replica, chunk, wave) of ``history``, by looking at every pair."""
    first_to_fill = set(chunk.block_table[-(-chunk.start // 4) :])
    wave = ready
    for then, where, other, its in history:
        if where == replica and then < step:
            if first_to_fill & set(other.block_table):
                wave = max(wave, its + 1)
            if set(chunk.block_table) & set(other.block_table[other.start // 4 :]):
                wave = max(wave, its)
    return wave


@given(steps)
def test_a_chunk_waits_for_what_it_must_and_for_nothing_else(
    given_steps: list[tuple[int, list[Chunk], int]],
) -> None:
    waves = Waves(GEOMETRY.replicas * GEOMETRY.blocks)
    history: list[tuple[int, int, Chunk, int]] = []
    for step, (replica, own, ready) in enumerate(given_steps):
        # Within a step chunks never fill each other's blocks: the engine hands out a block to one sequence at a time.
        used: set[int] = set()
        apart = [c for c in own if not used & set(c.block_table) and not used.update(c.block_table)]
        placed = waves.place(replica, apart, [ready] * len(apart), GEOMETRY)
        assert placed == [earliest(history, step, replica, chunk, ready) for chunk in apart]
        history += [(step, replica, chunk, wave) for chunk, wave in zip(apart, placed, strict=True)]


def test_after_clear_nothing_waits() -> None:
    waves = Waves(GEOMETRY.replicas * GEOMETRY.blocks)
    prefill, decode = Chunk([1] * 4, 0, [0], True), Chunk([1], 4, [0, 1], True)
    assert waves.place(0, [prefill], [0], GEOMETRY) == [0]
    assert waves.place(0, [prefill], [0], GEOMETRY) == [1]
    assert waves.place(1, [prefill], [0], GEOMETRY) == [0]
    assert waves.place(0, [decode], [2], GEOMETRY) == [2]
    waves.clear()
    assert waves.place(0, [decode], [0], GEOMETRY) == [0]
