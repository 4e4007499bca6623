"""The block pool neither loses nor doubles a block, whatever is asked of it, and its events tell what it holds."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from instrumented_engine.replica.kv_blocks import BlockEvent, BlockPool

PROMPTS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=60)


@given(st.integers(8, 24), PROMPTS, st.randoms(use_true_random=False))
def test_blocks_are_conserved_and_events_replay_to_what_is_held(
    total: int, prompts: list[tuple[int, int]], rng: random.Random
) -> None:
    events: list[BlockEvent] = []
    pool = BlockPool(total, events.append)
    running: list[list[int]] = []
    for length, family in prompts:
        keys = [family * 100 + i for i in range(length)]
        hit = pool.match(keys)
        blocks = pool.reuse(keys[:hit])
        fresh = pool.allocate(length - hit)
        if fresh is None:
            pool.release(blocks)
        else:
            for block, key in zip(fresh, keys[hit:], strict=True):
                pool.complete(block, key)
            running.append(blocks + fresh)
        pool.check()
        if len(running) > 2:
            pool.release(running.pop(rng.randrange(len(running))))
        pool.check()
        assert pool.used == len({block for blocks in running for block in blocks})
    held: set[int] = set()
    for kind, key in events:
        assert (key in held) == (kind == "removed")
        held ^= {key}
    assert held == set(pool.keys())
    assert pool.stored - pool.evicted == pool.cached


def test_a_refused_allocation_changes_nothing() -> None:
    pool = BlockPool(4, lambda event: None)
    first = pool.allocate(3)
    assert first is not None
    assert pool.allocate(2) is None
    assert pool.available == 1
    pool.check()


def test_the_least_recently_used_block_goes_first_and_the_tail_of_a_prefix_before_its_head() -> None:
    gone: list[int] = []
    pool = BlockPool(4, lambda event: gone.append(event[1]) if event[0] == "removed" else None)
    for keys in ([1, 2], [3, 4]):
        blocks = pool.allocate(2)
        assert blocks is not None
        for block, key in zip(blocks, keys, strict=True):
            pool.complete(block, key)
        pool.release(blocks)
    pool.release(pool.reuse([1, 2]))
    assert pool.allocate(3) is not None
    assert gone == [4, 3, 2]
