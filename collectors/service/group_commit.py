"""The door to the journal: bodies that arrive together share one fdatasync, and each is answered when it is durable.

One thread owns the journal: it alone writes, syncs and removes files, while the event loop goes on receiving. Memory and disk
are bounded before a body is taken: by the bodies that wait for the disk, by the journal that waits for decoding, and by the
free space that is left alone. A body that came in during the last ten minutes is admitted without being taken again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from collectors import settings
from collectors.errors import StorageFull
from collectors.frames import Place
from collectors.journal import Journal
from collectors.receive.door import Refused
from collectors.recent_bodies import RecentBodies, digest_of
from collectors.sink import Signal

MOST_FRAMES = 1_000_000
"""Frames that may wait for decoding, however small they are: each costs memory."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes: of bodies that wait for the disk, of journal that waits for decoding, and of free disk left alone."""

    queue_bytes: int = 64 << 20
    journal_bytes: int = 4 << 30
    disk_reserve: int = 256 << 20

    @classmethod
    def from_settings(cls) -> Bounds:
        """As the settings ``collect.*`` say."""
        now = settings.current()
        return cls(now.value("collect.queue_bytes"), now.value("collect.journal_bytes"), now.value("collect.disk_reserve"))


@dataclass(slots=True)
class _Waiting:
    signal: Signal
    body: bytes
    is_packed: bool
    digest: bytes
    done: asyncio.Future[None]


class GroupCommit:
    """A ``Door``. Start it in a running event loop; ``on_synced`` is called there with the places of new frames.

    ``trouble``: what the disk said of the last bodies; empty when it took them. ``commits``: its work, which only ends after
    ``stop``, or by a defect.
    """

    def __init__(self, journal: Journal, recent: RecentBodies, bounds: Bounds,
                 on_synced: Callable[[Sequence[Place]], None],
                 free_bytes: Callable[[], int] | None = None) -> None:
        self.queue_bytes = 0
        self.trouble = ""
        self._journal = journal
        self._recent = recent
        self._bounds = bounds
        self._on_synced = on_synced
        self._free_bytes = free_bytes or (lambda: free_disk(journal))
        self._waiting: list[_Waiting] = []
        self._on_the_way: dict[bytes, asyncio.Future[None]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._wake = asyncio.Event()
        self._stopping = False
        self.commits = asyncio.get_running_loop().create_task(self._commit_groups())

    async def admit(self, signal: Signal, body: bytes, packed: bytes = b"") -> bool:
        """As ``Door`` says."""
        digest = digest_of(signal, body)
        if digest in self._recent:
            return False
        first = self._on_the_way.get(digest)
        if first is not None:
            await asyncio.shield(first)
            return False
        held = packed or body
        self._check_room(len(held))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_the_way[digest] = done
        self._waiting.append(_Waiting(signal, held, bool(packed), digest, done))
        self.queue_bytes += len(held)
        self._wake.set()
        await asyncio.shield(done)
        return True

    async def drop_through(self, seq: int) -> None:
        """Frames up to ``seq`` are in the tables: remove the journal's files of them."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._journal.drop_through, seq)

    async def stop(self) -> None:
        """Refuse new bodies, make those taken durable, and end. The journal stays open."""
        self._stopping = True
        self._wake.set()
        await self.commits
        self._thread.shutdown()

    def _check_room(self, size: int) -> None:
        journal, bounds = self._journal, self._bounds
        if self._stopping:
            raise Refused("stopping", 5, "the collector is stopping")
        if self.queue_bytes and self.queue_bytes + size > bounds.queue_bytes:
            raise Refused("queue_full", 1, f"{self.queue_bytes} bytes wait for the disk")
        if journal.waiting_bytes > bounds.journal_bytes or len(journal.places) > MOST_FRAMES:
            raise Refused("journal_full", 10, f"{journal.waiting_bytes} bytes of journal wait for decoding")
        if self._free_bytes() - self.queue_bytes - size < bounds.disk_reserve:
            raise Refused("disk_full", 30, "the disk of the store is full")

    async def _commit_groups(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting or not self._stopping:
            self._wake.clear()
            if not self._waiting:
                await self._wake.wait()
                continue
            group, self._waiting = self._waiting, []
            problem: Refused | None = None
            places: list[Place] = []
            try:
                places = await loop.run_in_executor(self._thread, self._write, group)
            except StorageFull as error:
                problem = Refused("disk_full", 30, str(error))
            except OSError as error:
                problem = Refused("disk_full", 30, f"the disk of the store fails: {error.strerror}")
            self.trouble = "" if problem is None else str(problem)
            self.queue_bytes -= sum(len(waiting.body) for waiting in group)
            for waiting in group:
                del self._on_the_way[waiting.digest]
            if problem is None:
                self._recent.add(waiting.digest for waiting in group)
                self._on_synced(places)
            for waiting in group:
                if problem is None:
                    waiting.done.set_result(None)
                else:
                    waiting.done.set_exception(Refused(problem.reason, problem.retry_after_s, str(problem)))
                    waiting.done.exception()  # seen, though the sender may be gone

    def _write(self, group: list[_Waiting]) -> list[Place]:
        for waiting in group:
            self._journal.put(waiting.signal, waiting.body, waiting.digest, is_packed=waiting.is_packed)
        return self._journal.sync()


def free_disk(journal: Journal) -> int:
    """Bytes that the journal's disk has free for this user."""
    found = os.statvfs(journal.folder)
    return found.f_bavail * found.f_frsize
