"""Admitted means durable: whatever the disk does, every body that was admitted is in the journal, once."""

from __future__ import annotations

import asyncio
import errno
import os
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import zstandard

from collectors.clock import ManualClock
from collectors.frames import Place
from collectors.journal import Journal, Write, scan_all
from collectors.receive.door import Refused
from collectors.recent_bodies import KEEP_NS, RecentBodies
from collectors.service.group_commit import Bounds, GroupCommit

OWNER = uuid.UUID(int=7)
START = 1_770_000_000_000_000_000
NO_RESERVE = Bounds(disk_reserve=0)


class Desk:
    """A journal with its door, and what the door told."""

    def __init__(self, folder: Path, bounds: Bounds = NO_RESERVE, free: Callable[[], int] | None = None,
                 write: Write = os.write) -> None:
        (folder / "journal").mkdir(exist_ok=True)
        self.folder, self.clock, self.told = folder, ManualClock(START), list[Place]()
        self.journal = Journal(folder, OWNER, 1, [], write=write, clock=self.clock)
        self.door = GroupCommit(self.journal, RecentBodies(folder, [], self.clock, self.clock), bounds, self.told.extend, free)

    def bodies(self) -> list[bytes]:
        """What the journal's files hold, in order."""
        places = [place for found in scan_all(self.folder, OWNER) for place in found.places]
        reader = Journal(self.folder, OWNER, 1 + len(places), places)
        return [body for _, body in reader.read(0) if body is not None]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


async def outcome(door: GroupCommit, body: bytes) -> str:
    try:
        return "new" if await door.admit("logs", body) else "known"
    except Refused as refused:
        assert refused.retry_after_s > 0
        return refused.reason


def test_bodies_that_come_together_share_syncs_and_all_are_kept(tmp_path: Path) -> None:
    async def work() -> None:
        desk = Desk(tmp_path)
        bodies = [b"body %d" % number for number in range(300)]
        assert await asyncio.gather(*(outcome(desk.door, body) for body in bodies)) == ["new"] * 300
        assert desk.door.queue_bytes == 0 and desk.bodies() == bodies
        assert [place.seq for place in desk.told] == list(range(1, 301))
        await desk.door.stop()

    run(work())


def test_packed_and_plain_bodies_are_read_back_alike_and_are_retries_of_each_other(tmp_path: Path) -> None:
    async def work() -> None:
        desk, body = Desk(tmp_path), b"a" * 1000
        packed = zstandard.ZstdCompressor(level=3).compress(body)
        first, plain = asyncio.create_task(desk.door.admit("logs", body, packed)), b"plain"
        await asyncio.sleep(0)
        assert desk.door.queue_bytes == len(packed)
        assert await first and await desk.door.admit("logs", plain)
        assert not await desk.door.admit("logs", body) and not await desk.door.admit("logs", body, packed)
        assert desk.bodies() == [body, plain]
        (file,) = (tmp_path / "journal").glob("*.wal")
        assert packed in file.read_bytes()
        await desk.door.stop()

    run(work())


def test_a_retry_is_absorbed_whether_the_first_is_on_its_way_or_done(tmp_path: Path) -> None:
    async def work() -> None:
        desk = Desk(tmp_path)
        assert sorted(await asyncio.gather(*(outcome(desk.door, b"same") for _ in range(5)))) == ["known"] * 4 + ["new"]
        assert await outcome(desk.door, b"same") == "known"
        desk.clock.advance(KEEP_NS + 1)
        assert await outcome(desk.door, b"same") == "new"
        assert desk.bodies() == [b"same", b"same"]
        await desk.door.stop()

    run(work())


def test_what_no_room_is_left_for_is_refused_before_it_is_taken(tmp_path: Path) -> None:
    async def work() -> None:
        free = [10_000]
        desk = Desk(tmp_path, Bounds(queue_bytes=1000, journal_bytes=3000, disk_reserve=5000), lambda: free[0])
        first = asyncio.create_task(outcome(desk.door, os.urandom(900)))
        await asyncio.sleep(0)
        assert await outcome(desk.door, b"x" * 200) == "queue_full"
        assert await first == "new"
        free[0] = 5100
        assert await outcome(desk.door, b"x" * 200) == "disk_full"
        free[0] = 50_000
        while desk.journal.waiting_bytes <= 3000:
            assert await outcome(desk.door, os.urandom(900)) == "new"
        assert await outcome(desk.door, b"x") == "journal_full"
        await desk.door.drop_through(desk.journal.synced_seq)
        assert await outcome(desk.door, b"x") == "new"
        await desk.door.stop()
        assert await outcome(desk.door, b"y") == "stopping"

    run(work())


def test_one_body_beyond_the_queue_s_bound_still_passes_alone(tmp_path: Path) -> None:
    async def work() -> None:
        desk = Desk(tmp_path, Bounds(queue_bytes=10, disk_reserve=0))
        assert await outcome(desk.door, b"x" * 1000) == "new"
        await desk.door.stop()

    run(work())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_costs_nothing_admitted_and_its_end_is_noticed(tmp_path: Path, code: int) -> None:
    """Every third write of the journal fails, half written. Senders try again, as they are told to."""
    calls = [0]

    def write(descriptor: int, data: memoryview) -> int:
        calls[0] += 1
        if calls[0] % 3 == 0:
            os.write(descriptor, data[: len(data) // 2])
            raise OSError(code, os.strerror(code))
        return os.write(descriptor, data)

    async def work() -> None:
        desk = Desk(tmp_path, write=write)

        async def send(body: bytes) -> int:
            tries = 1
            while (said := await outcome(desk.door, body)) != "new":
                assert said == "disk_full"
                tries += 1
            return tries

        tries = [sum(await asyncio.gather(*(send(b"%d %d" % (group, number)) for number in range(4)))) for group in range(20)]
        assert max(tries) > 4
        assert sorted(desk.bodies()) == sorted(b"%d %d" % (group, number) for group in range(20) for number in range(4))
        assert [place.seq for place in desk.told] == list(range(1, 81))
        await desk.door.stop()
        desk.journal.close()

    run(work())


def test_a_sender_that_leaves_takes_nothing_from_the_others(tmp_path: Path) -> None:
    async def work() -> None:
        desk = Desk(tmp_path)
        leaving = asyncio.create_task(desk.door.admit("logs", b"left"))
        staying = asyncio.create_task(outcome(desk.door, b"stayed"))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying == "new"
        assert await outcome(desk.door, b"left") == "known"  # it was on its way, and is kept
        assert desk.bodies() == [b"left", b"stayed"]
        await desk.door.stop()

    run(work())


def test_what_cannot_be_taken_back_ends_the_taking(tmp_path: Path) -> None:
    """A write fails and the file cannot be cut: nothing is written behind what is left over, until recovery has read it."""
    nothing = os.open(os.devnull, os.O_RDONLY)

    def write(descriptor: int, data: memoryview) -> int:
        written = os.write(descriptor, data)
        if b"bad" in bytes(data):
            os.dup2(nothing, descriptor)  # which is cut, and written, by nobody
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return written

    async def work() -> None:
        desk = Desk(tmp_path, write=write)
        assert await outcome(desk.door, b"good") == "new"
        assert desk.door.trouble == ""
        for body in (b"bad", b"bad", b"another"):
            assert await outcome(desk.door, body) == "disk_full"
            assert desk.door.trouble.startswith("the disk of the store fails: ")
        assert await outcome(desk.door, b"good") == "known"
        assert [place.seq for place in desk.told] == [1]
        await desk.door.stop()
        desk.journal.close()
        assert desk.bodies() == [b"good", b"bad"]  # whole, as it happened; a retry of it is known then

    run(work())
    os.close(nothing)


def test_a_defect_ends_the_door_s_work_and_is_seen(tmp_path: Path) -> None:
    def write(descriptor: int, data: memoryview) -> int:
        raise ZeroDivisionError

    async def work() -> None:
        desk = Desk(tmp_path, write=write)
        waiting = asyncio.create_task(outcome(desk.door, b"body"))
        await asyncio.wait([desk.door.commits])
        with pytest.raises(ZeroDivisionError):
            desk.door.commits.result()
        assert not waiting.done()  # and nobody is told that it was kept
        waiting.cancel()

    run(work())
