"""A link shares its bandwidth fairly, conserves bytes, and fails what it can no longer carry."""

from __future__ import annotations

import asyncio
import random

import pytest

from instrumented_engine.clock import VirtualLoop, run_virtual
from instrumented_engine.network.link import RETRANSMIT_S, Link, LinkDown


def made(loop: VirtualLoop, **values: float) -> Link:
    given = {"latency_ms": 0.0, "bandwidth_gbps": 8.0, "loss": 0.0, **values}
    return Link("link:a-b", loop, random.Random(1), **given)


def ends(sizes: list[tuple[float, int]], **values: float) -> tuple[list[float], Link]:
    """Seconds at which transfers of (start s, bytes) end."""
    loop = VirtualLoop()
    link = made(loop, **values)

    async def one(start_s: float, size: int) -> float:
        await loop.sleep_until_ns(round(start_s * 1e9))
        await link.transfer(size)
        return loop.now_ns / 1e9

    async def main() -> None:
        found.extend(await asyncio.gather(*(one(*transfer) for transfer in sizes)))

    found: list[float] = []
    run_virtual(main(), loop)
    return found, link


def test_equal_transfers_share_and_a_short_one_leaves_early() -> None:
    found, link = ends([(0, 10**9), (0, 10**9)])
    assert found == pytest.approx([2.0, 2.0])
    found, link = ends([(0, 3 * 10**9), (0, 10**9)])
    assert found == pytest.approx([4.0, 2.0])
    assert link.sent_bytes == 4 * 10**9


def test_one_that_comes_later_slows_the_first() -> None:
    found, _ = ends([(0, 2 * 10**9), (1, 10**9)])
    assert found == pytest.approx([3.0, 3.0])


def test_latency_and_loss_add_up() -> None:
    found, _ = ends([(0, 10**9)], latency_ms=50)
    assert found == pytest.approx([1.05])
    found, _ = ends([(0, 10**9)], loss=0.5)
    assert found[0] >= 2.0
    assert (found[0] - 2.0) / RETRANSMIT_S == pytest.approx(round((found[0] - 2.0) / RETRANSMIT_S))


def test_a_link_that_goes_down_fails_what_is_on_it_and_what_comes() -> None:
    loop = VirtualLoop()
    link = made(loop)

    async def main() -> None:
        task = loop.create_task(link.transfer(10**9))
        await loop.sleep_ns(10**8)
        link.up = False
        with pytest.raises(LinkDown):
            await task
        with pytest.raises(LinkDown):
            await link.cross()
        link.up = True
        await link.transfer(10**9)
        assert loop.now_ns == 11 * 10**8
        assert link.failures == 2
        assert link.active == 0

    run_virtual(main(), loop)


def test_a_change_of_bandwidth_counts_from_then_on() -> None:
    loop = VirtualLoop()
    link = made(loop)

    async def main() -> None:
        task = loop.create_task(link.transfer(10**9))
        await loop.sleep_ns(5 * 10**8)
        link.bandwidth_gbps = 4.0
        await task
        assert loop.now_ns == pytest.approx(1.5e9)

    run_virtual(main(), loop)
