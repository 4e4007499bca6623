"""Keeps a worker process alive, tells it which frames are durable, and knows how far it is.

A worker that dies is started anew, later and later while it dies at the same place. Which frames the next one takes together,
and which it leaves out, is for ``suspects.py`` to say, unless the worker named what it ended of: a full disk is no frame's
fault. One that makes no progress for long, though frames wait, is first reported as a problem and then killed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path

from collectors.clock import Clock
from collectors.errors import BadInput, StoreUnreadable
from collectors.frames import Place
from collectors.service.suspects import Suspects
from collectors.service.worker_pipe import FRAMES_A_LINE, LINE_BYTES, STOP_LINE, Report, frames_line, read_report

KILL_AFTER = 5
"""A stuck worker is killed after so many times the time after which it counts as stuck."""
_FIRST_DELAY_S, _SUSPECT_DELAY_S, _LONGEST_DELAY_S = 0.2, 0.5, 30.0
_SECOND = 1_000_000_000
_SAID_WHY = frozenset({BadInput.exit_code, StoreUnreadable.exit_code})
"""Exit codes of a worker that named what somebody must mend."""


class WorkerKeeper:
    """Runs the worker of ``store`` from ``run`` to ``stop``. ``waiting``: frames that the tables do not have yet.

    ``on_decoded`` is told the last frame in the tables each time it moves; ``on_event`` a name and fields for the log.
    ``options``: given to every worker. ``command``: how one is started, for tests that need one which dies.
    """

    def __init__(self, store: Path, waiting: Iterable[Place], decoded_seq: int, stuck_after_s: float, monotonic: Clock,
                 on_decoded: Callable[[int], None], on_event: Callable[..., None], options: tuple[str, ...] = (),
                 command: tuple[str, ...] = (sys.executable, "-m", "collectors.service.worker_process")) -> None:
        self.report = Report(decoded_seq, "starting")
        self.restarts = 0
        self.waiting = deque(waiting)
        self._store = store
        self._stuck_after_ns = int(stuck_after_s * _SECOND)
        self._monotonic = monotonic
        self._on_decoded, self._on_event = on_decoded, on_event
        self._command, self._options = command, options
        self._progress_ns = self._moved_ns = monotonic.now_ns()
        self._deaths = 0
        self._process: Process | None = None
        self._ended_lives = {"rows": Counter[str](), "rejects": Counter[str](), "drops": Counter[str]()}
        self._stopping = False
        self._suspects = Suspects()

    def tell(self, places: Iterable[Place]) -> None:
        """These frames are durable now."""
        if not self.waiting:
            self._progress_ns = self._moved_ns = self._monotonic.now_ns()
        new = list(places)
        self.waiting += new
        self._send_frames(new)

    def counts(self, what: str) -> Counter[str]:
        """``rows``, ``rejects`` or ``drops`` of all workers since the start."""
        return self._ended_lives[what] + Counter(getattr(self.report, what))

    @property
    def pid(self) -> int | None:
        """The process id of the worker that runs now."""
        return self._process.pid if self._process is not None else None

    def stuck_s(self) -> float:
        """Seconds without progress while frames wait, once they are too many; 0 before."""
        quiet = self._monotonic.now_ns() - self._progress_ns
        return quiet / _SECOND if self.waiting and quiet > self._stuck_after_ns else 0.0

    def failing(self) -> str:
        """What is wrong when workers die one after another and decode nothing for too long; empty otherwise."""
        quiet = self._monotonic.now_ns() - self._moved_ns
        if not self.waiting or not self._deaths or quiet <= self._stuck_after_ns:
            return ""
        return f"the worker died {self._deaths} times and decoded nothing for {quiet // _SECOND} s; the log has its last words"

    async def run(self) -> None:
        """Start workers until ``stop``; returns when the last one has ended."""
        delay = _FIRST_DELAY_S
        while True:
            before = self.report.seq
            code = await self._one_life()
            if self._stopping and not self.waiting:
                return
            if self.report.seq > before:
                delay = _FIRST_DELAY_S
            if code not in _SAID_WHY:
                self._suspects.died(self.report)
            self.restarts += 1
            self._deaths += 1
            self._on_event("worker_died", exit_code=code, decoded_seq=self.report.seq, waiting=len(self.waiting),
                           again_in_s=delay, skip=self._suspects.skip)
            await asyncio.sleep(delay)
            suspicious = self.report.trying and code not in _SAID_WHY
            delay = min(2 * delay, _SUSPECT_DELAY_S if suspicious else _LONGEST_DELAY_S)

    def stop(self) -> None:
        """Let the worker decode what is durable, and end."""
        self._stopping = True
        self._send(STOP_LINE)

    def kill(self) -> None:
        """End the worker now, at whatever it does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _one_life(self) -> int:
        extra = self._suspects.options(self.report.seq)
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, str(self._store), *self._options, *extra, stdin=PIPE, stdout=PIPE, limit=LINE_BYTES,
                start_new_session=True)
        except OSError as error:  # no memory, or too many processes
            self._on_event("worker_not_started", why=os.strerror(error.errno or 0))
            return BadInput.exit_code
        self._process = process
        self.report = Report(self.report.seq, "starting")
        self._progress_ns = self._monotonic.now_ns()
        self._send_frames(list(self.waiting))
        if self._stopping:
            self._send(STOP_LINE)
        watch = asyncio.create_task(self._kill_when_stuck())
        try:
            assert process.stdout is not None
            while line := await process.stdout.readline():
                self._take(read_report(line))
            return await process.wait()
        finally:
            watch.cancel()
            self.kill()
            for what, ended in self._ended_lives.items():
                ended.update(getattr(self.report, what))
            self.report = Report(self.report.seq, "dead", self.report.trying)
            self._process = None

    def _take(self, report: Report) -> None:
        moved = report.seq > self.report.seq
        if moved or (report.doing, report.trying) != (self.report.doing, self.report.trying):
            self._progress_ns = self._monotonic.now_ns()
        self.report = report
        if moved:
            self._deaths, self._moved_ns = 0, self._monotonic.now_ns()
            while self.waiting and self.waiting[0].seq <= report.seq:
                self.waiting.popleft()
            self._on_decoded(report.seq)

    async def _kill_when_stuck(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._stuck_after_ns / _SECOND))
            if self.stuck_s() * _SECOND > KILL_AFTER * self._stuck_after_ns:
                self._on_event("worker_stuck", seconds=round(self.stuck_s()), doing=self.report.doing)
                self.kill()
                return

    def _send_frames(self, places: list[Place]) -> None:
        for first in range(0, len(places), FRAMES_A_LINE):
            self._send(frames_line(places[first : first + FRAMES_A_LINE]))

    def _send(self, line: bytes) -> None:
        process = self._process
        if process is not None and process.returncode is None and process.stdin is not None:
            process.stdin.write(line)
