"""The index never writes faster than its rate, notices every gap, and in the end knows exactly what replicas hold."""

from __future__ import annotations

import random

import pytest

from instrumented_engine.clock import VirtualLoop, run_virtual
from instrumented_engine.kv.event_stream import EventStream
from instrumented_engine.kv.kv_index import KvIndex


class FakeReplica:
    """Holds keys and publishes what changes."""

    def __init__(self, loop: VirtualLoop, index: KvIndex, capacity: int) -> None:
        self.keys: dict[int, None] = {}
        self.stream = EventStream(capacity, lambda: loop.now_ns, index.wake)

    def held_keys(self) -> list[int]:
        return list(self.keys)

    def toggle(self, key: int) -> None:
        if key in self.keys:
            del self.keys[key]
            self.stream.publish(("removed", key))
        else:
            self.keys[key] = None
            self.stream.publish(("stored", key))


def fleet(rate: float, capacity: int = 10_000, replicas: int = 3) -> tuple[VirtualLoop, KvIndex, list[FakeReplica]]:
    loop = VirtualLoop()
    index = KvIndex(loop, writer_ops_per_s=rate, route_by="new_map")
    members = [FakeReplica(loop, index, capacity) for _ in range(replicas)]
    for member in members:
        index.connect(member)
    return loop, index, members


def knows(index: KvIndex, members: list[FakeReplica]) -> bool:
    truth: dict[int, int] = {}
    for number, member in enumerate(members):
        for key in member.keys:
            truth[key] = truth.get(key, 0) | 1 << number
    return index.routing_map == truth


@pytest.mark.parametrize("capacity", [10_000, 7])
def test_after_any_traffic_the_map_equals_what_is_held(capacity: int) -> None:
    loop, index, members = fleet(rate=500, capacity=capacity)
    rng = random.Random(4)

    async def main() -> None:
        loop.create_task(index.run())
        for _ in range(600):
            rng.choice(members).toggle(rng.randrange(40))
            await loop.sleep_ns(rng.randrange(4_000_000))
        await loop.sleep_ns(10 * 10**9)

    run_virtual(main(), loop)
    assert knows(index, members)
    assert index.pending == 0 and index.lag_ns == 0
    dropped = sum(member.stream.dropped for member in members)
    assert (dropped > 0) == (index.gaps > 0) == (capacity == 7)
    assert index.dumps == index.gaps


def test_the_writer_keeps_to_its_rate_and_lag_is_what_is_left_over_it() -> None:
    loop, index, members = fleet(rate=100)
    for key in range(1_000):
        members[key % 3].toggle(key)
    seen: list[tuple[float, int, float]] = []

    async def main() -> None:
        loop.create_task(index.run())
        for _ in range(15):
            await loop.sleep_ns(10**9)
            seen.append((loop.now_ns / 1e9, index.applied, index.lag_ns / 1e9))

    run_virtual(main(), loop)
    for seconds, applied, lag in seen:
        assert applied == pytest.approx(min(1_000, 100 * seconds), abs=6)
        assert lag == (pytest.approx(seconds, abs=0.1) if applied < 1_000 else 0)


def test_a_rebalance_empties_the_routing_map_and_its_undoing_brings_the_live_one_back() -> None:
    loop, index, members = fleet(rate=100)
    for key in range(300):
        members[key % 3].keys[key] = None

    async def main() -> None:
        loop.create_task(index.run())
        index.rebalance()
        await loop.sleep_ns(10 * 10**9)
        assert knows(index, members) and not index.rebalancing
        index.rebalance()
        assert index.size == 0 and index.rebalancing
        members[0].toggle(999)
        await loop.sleep_ns(10**9)
        assert 0 < index.size < 150
        index.undo_rebalance()
        assert index.size >= 300
        await loop.sleep_ns(10**9)

    run_virtual(main(), loop)
    assert set(index.routing_map) - {999} == set(range(300))


def test_routing_by_the_old_map_until_the_new_one_is_complete() -> None:
    loop, index, members = fleet(rate=100)
    index.route_by = "old_map_until_synced"
    for key in range(300):
        members[key % 3].keys[key] = None

    async def main() -> None:
        loop.create_task(index.run())
        index.rebalance()
        await loop.sleep_ns(10 * 10**9)
        index.rebalance()
        for _ in range(40):
            assert index.size == 300
            await loop.sleep_ns(10**8)

    run_virtual(main(), loop)
    assert knows(index, members)


def test_prefix_lengths_count_only_unbroken_prefixes() -> None:
    loop, index, _ = fleet(rate=100)
    index.routing_map.update({1: 0b111, 2: 0b011, 3: 0b101})
    assert index.prefix_lengths([1, 2, 3]) == [3, 2, 1]
    assert index.prefix_lengths([9, 1]) == [0, 0, 0]
    assert index.prefix_lengths([]) == [0, 0, 0]
    loop.close()
