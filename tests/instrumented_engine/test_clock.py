"""The virtual clock is exact to the nanosecond, and says so when a run can never end."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrumented_engine.clock import Stalled, VirtualLoop, run_virtual


@given(st.lists(st.integers(0, 80_000 * 10**9), min_size=1, max_size=40))
def test_everybody_wakes_exactly_when_they_asked_to(instants: list[int]) -> None:
    loop = VirtualLoop()
    woken: list[tuple[int, int]] = []

    async def sleeper(at_ns: int) -> None:
        await loop.sleep_until_ns(at_ns)
        woken.append((at_ns, loop.now_ns))

    async def main() -> None:
        await asyncio.gather(*(loop.create_task(sleeper(at)) for at in instants))

    run_virtual(main(), loop)
    assert sorted(woken) == sorted((at, at) for at in instants)
    assert [now for _, now in woken] == sorted(instants)


def test_neighbouring_nanoseconds_are_kept_apart_late_in_a_long_run() -> None:
    loop = VirtualLoop()
    seen: list[int] = []

    async def main() -> None:
        base = 80_000 * 10**9
        for offset in (1, 2, 3):
            loop.call_at_ns(base + offset, lambda: seen.append(loop.now_ns - base))
        await loop.sleep_until_ns(base + 10)

    run_virtual(main(), loop)
    assert seen == [1, 2, 3]


def test_a_run_that_waits_for_nothing_says_so() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        await loop.create_future()

    with pytest.raises(Stalled, match="no timer is set"):
        run_virtual(main(), loop)


def test_tasks_left_over_are_cancelled() -> None:
    loop = VirtualLoop()
    ended: list[str] = []

    async def endless() -> None:
        try:
            while True:
                await loop.sleep_ns(10)
        finally:
            ended.append("cancelled")

    async def main() -> None:
        task = loop.create_task(endless())
        await loop.sleep_ns(1_000)
        assert not task.done()

    run_virtual(main(), loop)
    assert ended == ["cancelled"]


def test_timers_of_one_instant_fire_in_the_order_in_which_they_were_set_and_cancelled_ones_never() -> None:
    loop = VirtualLoop()
    seen: list[int] = []

    async def main() -> None:
        timers = [loop.call_at_ns(1_000 + number // 500, seen.append, number) for number in range(5_000)]
        for timer in timers[::2] + timers[1_000:]:
            timer.cancel()
        await loop.sleep_ns(5_000)
        assert loop.cancelled == 0

    run_virtual(main(), loop)
    assert seen == list(range(1, 1_000, 2))


def test_asyncio_s_own_time_outs_run_on_virtual_time() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await loop.create_future()
        assert loop.now_ns == 2_500_000_000

    run_virtual(main(), loop)


def test_a_sleep_that_is_cut_short_ends_then_and_is_never_woken_again() -> None:
    loop = VirtualLoop()
    ended: list[tuple[str, int]] = []

    async def sleeper(name: str) -> None:
        try:
            await loop.sleep_until_ns(100)
            ended.append((name, loop.now_ns))
        except asyncio.CancelledError:
            ended.append((f"{name} cut", loop.now_ns))

    async def main() -> None:
        early, late, same = (loop.create_task(sleeper(name)) for name in ("early", "late", "same"))
        loop.call_at_ns(50, early.cancel)
        loop.call_at_ns(150, late.cancel)
        loop.call_at_ns(100, same.cancel)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1e-6):
                await loop.sleep_ns(5_000)
        assert loop.now_ns == 1_000
        await loop.sleep_ns(10_000)

    run_virtual(main(), loop)
    assert ended == [("early cut", 50), ("late", 100), ("same cut", 100)]


def test_an_error_in_a_timer_ends_the_run() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        loop.call_at_ns(10, lambda: 1 // 0)
        await loop.sleep_ns(100)

    with pytest.raises(ZeroDivisionError):
        run_virtual(main(), loop)
