"""A collector: receivers in front, the journal behind them, a worker process that decodes, and their orderly end.

The process that acknowledges does nothing else: it receives, writes and syncs the journal, and watches over the worker.
Whatever dies, what was acknowledged is in the journal or in the tables, once.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from collectors import settings
from collectors.clock import Clock, MonotonicClock, SystemClock
from collectors.frames import Place
from collectors.opening import WRITER_ENDS_S, own, recover_journal
from collectors.ownership import WRITER_NAME, Ownership
from collectors.receive.listening import Addresses, Receivers
from collectors.receive.receiver_options import ReceiverOptions
from collectors.recent_bodies import RecentBodies
from collectors.service.group_commit import Bounds, GroupCommit, free_disk
from collectors.service.own_metrics import OwnMetrics
from collectors.service.service_manager import ServiceManager
from collectors.service.vitals import Vitals
from collectors.service.worker_keeper import WorkerKeeper

DRAIN_S = 60.0
"""So long a collector that was told to end waits for the worker to decode what is in the journal; the rest stays there."""

DROP_AGAIN_S = 5.0
"""A disk that does not let go of journal files is asked again after this."""

Event = Callable[..., None]


class Collector:
    """One collector of one store. ``run`` is its whole life; make it in a running event loop.

    ``on_event`` is told a name and fields for the log, ``service`` how it is. ``keep_text``: the flag, None when it was not
    given. Raises StoreBusy, StoreUnreadable, BadInput, StorageFull.
    """

    def __init__(self, store: Path, options: ReceiverOptions, bounds: Bounds, on_event: Event, service: ServiceManager, *,
                 keep_text: bool | None = None, clock: Clock | None = None, monotonic: Clock | None = None) -> None:
        self._clock, self._monotonic = clock or SystemClock(), monotonic or MonotonicClock()
        self._on_event, self._bounds, self._service = on_event, bounds, service
        self._lock = own(store)
        try:
            writer = Ownership(store, WRITER_NAME, WRITER_ENDS_S)
            try:
                found = recover_journal(store, clock=self._clock)
            finally:
                writer.release()
        except BaseException:
            self._lock.release()
            raise
        for sentence in found.snapshot.damage:
            on_event("journal_damage", found=sentence)
        self._journal = found.journal
        self._decoded = found.snapshot.seq
        self._end = asyncio.Event()
        self._drop = asyncio.Event()
        self._commits = GroupCommit(
            self._journal, RecentBodies(store, self._journal.digests(), self._clock, self._monotonic), bounds, self._synced)
        self.keeper = WorkerKeeper(
            store, self._journal.places, found.snapshot.seq, settings.value("collect.stuck_after_s"), self._monotonic,
            self._on_decoded, on_event, ("--keep-text",) if keep_text else ())
        self._receivers = Receivers(self._commits, OwnMetrics(lambda: self.keeper.pid), self.vitals, options)

    async def run(self, on_ready: Callable[[Addresses], None]) -> int:
        """Receive until ``end`` or a signal; returns the number of frames left in the journal. ``on_ready``: the addresses."""
        worker = asyncio.create_task(self.keeper.run())
        dropping = asyncio.create_task(self._drop_files())
        telling = asyncio.create_task(self._tell_service())
        try:
            addresses = await self._receivers.start()
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.end)
            on_ready(addresses)
            self._service.ready("receiving")
            ending = asyncio.create_task(self._end.wait())
            await asyncio.wait([ending, worker, dropping, self._commits.commits], return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            if dropping.done():
                dropping.result()
            dropping.cancel()
            return await self._stop(worker)
        finally:
            self.keeper.kill()
            for task in (worker, dropping, telling):
                task.cancel()
            await asyncio.gather(worker, dropping, telling, return_exceptions=True)
            self._journal.close()
            self._lock.release()

    def end(self) -> None:
        """End the run: what was received is decoded before."""
        self._end.set()

    def vitals(self) -> Vitals:
        """How it fares now."""
        keeper, journal, free = self.keeper, self._journal, free_disk(self._journal)
        oldest = keeper.waiting[0].received_ns if keeper.waiting else None
        return Vitals(
            queue_bytes=self._commits.queue_bytes, journal_bytes=journal.waiting_bytes, journal_frames=len(keeper.waiting),
            lag_s=0.0 if oldest is None else max(0.0, (self._clock.now_ns() - oldest) / 1e9),
            synced_seq=journal.synced_seq, decoded_seq=keeper.report.seq, rows=dict(keeper.counts("rows")),
            rejects=dict(keeper.counts("rejects")), drops=dict(keeper.counts("drops")), restarts=keeper.restarts,
            doing=keeper.report.doing, disk_free_bytes=free, problems=tuple(self._problems(free)))

    def _problems(self, free: int) -> list[str]:
        keeper, found = self.keeper, []
        if stuck_s := keeper.stuck_s():
            found.append(f"the worker made no progress for {stuck_s:.0f} s at {keeper.report.doing!r}; "
                         f"{len(keeper.waiting)} frames wait")
        elif failing := keeper.failing():
            found.append(f"{failing}; {len(keeper.waiting)} frames wait")
        if self._commits.trouble:
            found.append(f"the last bodies were refused: {self._commits.trouble}")
        if free <= self._bounds.disk_reserve:
            found.append(f"the disk has {free} bytes free, of which {self._bounds.disk_reserve} are left alone")
        if self._journal.waiting_bytes > self._bounds.journal_bytes:
            found.append(f"{self._journal.waiting_bytes} bytes of journal wait for decoding; bodies are refused beyond "
                         f"{self._bounds.journal_bytes}")
        return found

    async def _stop(self, worker: asyncio.Task[None]) -> int:
        self._on_event("stopping", waiting=len(self.keeper.waiting))
        self._service.stopping()
        await self._receivers.stop(grace_s=5.0)
        await self._commits.stop()
        self.keeper.stop()
        await asyncio.wait([worker], timeout=DRAIN_S)
        if worker.done():
            worker.result()
            self._journal.close()
            try:
                self._journal.drop_through(self.keeper.report.seq)
            except OSError as error:
                self._on_event("journal_kept", why=os.strerror(error.errno or 0))
        return len(self.keeper.waiting)

    def _synced(self, places: Sequence[Place]) -> None:
        self.keeper.tell(places)

    def _on_decoded(self, seq: int) -> None:
        self._decoded = seq
        self._drop.set()

    async def _drop_files(self) -> None:
        while True:
            await self._drop.wait()
            self._drop.clear()
            try:
                await self._commits.drop_through(self._decoded)
            except OSError as error:
                self._on_event("journal_kept", why=os.strerror(error.errno or 0), again_in_s=DROP_AGAIN_S)
                await asyncio.sleep(DROP_AGAIN_S)
                self._drop.set()

    async def _tell_service(self) -> None:
        while self._service.watchdog_s:
            await asyncio.sleep(self._service.watchdog_s / 3)
            self._service.alive("; ".join(self.vitals().problems) or f"frame {self.keeper.report.seq} decoded")
