"""The worker as a process of its own: ``python -m collectors.service.worker_process STORE``, started by a collector alone.

It learns on stdin which frames are durable, decodes them, keeps the tables small, and reports on stdout. It ends when it is
told to and has decoded everything, and at once when the process that started it is gone: dying at any point is safe.
``--small-rounds N --until SEQ`` takes at most N frames together up to that one; ``--skip SEQ`` rejects one unread
(``suspects.py``).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from collectors.decode.limits import Limits
from collectors.decode.round import ROUND_BYTES
from collectors.errors import FlashoverError, StorageFull, StoreUnreadable
from collectors.frames import Place
from collectors.journal import read_frames
from collectors.opening import WRITER_ENDS_S
from collectors.ownership import WRITER_NAME, Ownership
from collectors.recent_bodies import FOLDER
from collectors.recovery import sync_unpublished
from collectors.service.worker_pipe import Report, read_command, report_line
from collectors.snapshot import Snapshot, read_identity, read_snapshot
from collectors.tables.delta_tables import DeltaTables
from collectors.worker import Worker

PAUSE_S = 1.0
"""Rounds begin at least so long after one another, unless frames for a full one wait: few, large commits."""
FULL_BYTES = ROUND_BYTES // 8
"""Frames of so many bytes in the journal, packed as they are there, fill a round."""


class ToldFrames:
    """The frames that a pipe tells of, as ``worker.Frames``. ``rest`` and ``wait`` sleep until enough is told, or anything."""

    def __init__(self, store: Path, journal: str, after_seq: int, pipe: int) -> None:
        self._uuid = uuid.UUID(journal)
        self._folder = store / FOLDER
        self._places: list[Place] = []
        self._bytes = 0
        self._news = threading.Condition()
        self.synced_seq = after_seq
        self.stopping = False
        threading.Thread(target=self._listen, args=(pipe,), daemon=True, name="stdin").start()

    def read(self, after_seq: int) -> Iterator[tuple[Place, bytes | None]]:
        """Synced frames numbered above ``after_seq``, in order, with their plain bodies; None for one that went bad."""
        with self._news:
            places = [place for place in self._places if place.seq > after_seq]
        return read_frames(self._uuid, places)

    def drop_through(self, seq: int) -> None:
        """Frames up to ``seq`` are in the tables: forget them. The journal's owner removes the files."""
        with self._news:
            self._places = [place for place in self._places if place.seq > seq]
            self._bytes = sum(place.size for place in self._places)

    def rest(self, seconds: float) -> bool:
        """For ``seconds``, unless frames for a full round or a stop are told; returns whether they are."""
        with self._news:
            return self._news.wait_for(lambda: self.stopping or self._bytes >= FULL_BYTES, seconds)

    def wait(self, seconds: float, after_seq: int) -> None:
        """Until frames above ``after_seq`` or a stop are told, at most ``seconds``."""
        with self._news:
            self._news.wait_for(lambda: self.stopping or self.synced_seq > after_seq, seconds)

    def _listen(self, pipe: int) -> None:
        for line in _lines(pipe):
            places = read_command(line, self._folder)
            with self._news:
                if places is None:
                    self.stopping = True
                else:
                    new = [place for place in places if place.seq > self.synced_seq]
                    self._places += new
                    self._bytes += sum(place.size for place in new)
                    self.synced_seq = max([self.synced_seq, *(place.seq for place in places)])
                self._news.notify_all()
        os._exit(1)  # the receiver is gone: free the tables for the next one


def _lines(descriptor: int) -> Iterator[bytes]:
    """Lines of a pipe until its end. Not by ``sys.stdin``, whose lock a thread that waits would hold at exit."""
    rest = b""
    while data := os.read(descriptor, 1 << 20):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines


class WorkerProcess:
    """One life of the worker."""

    def __init__(self, store: Path, limits: Limits, skip: int, small_rounds: tuple[int, int]) -> None:
        identity = read_identity(store)
        if identity is None:
            raise StoreUnreadable(f"{store}: is no store; `flashover collect` makes it and starts the worker itself")
        snapshot = read_snapshot(store) or Snapshot(identity)
        tables = DeltaTables(store, identity)
        sync_unpublished(tables, snapshot)
        self._frames = ToldFrames(store, identity, snapshot.seq, sys.stdin.fileno())
        self._worker = Worker(store, self._frames, snapshot, tables, limits, skip=skip, small_rounds=small_rounds,
                              on_work=self._report)
        self._report("starting")

    def run(self) -> None:
        """Decode until told to stop and nothing is left."""
        frames, worker = self._frames, self._worker
        next_s = 0.0
        while True:
            frames.rest(next_s - time.monotonic())
            frames.wait(PAUSE_S, worker.snapshot.seq)
            begun = time.monotonic()
            stopping = frames.stopping
            if worker.drain():
                self._report("waiting")
                next_s = begun + PAUSE_S
            if stopping and frames.synced_seq <= worker.snapshot.seq:
                break
            if not stopping:
                worker.keep_up()
        worker.close()
        self._report("stopped")

    def _report(self, doing: str, trying: int = 0) -> None:
        worker = self._worker
        sys.stdout.buffer.write(report_line(Report(worker.snapshot.seq, doing, trying, dict(worker.rows),
                                                   dict(worker.rejects), worker.drops)))
        sys.stdout.buffer.flush()


def main() -> int:
    """Run the worker of one store; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m collectors.service.worker_process")
    parser.add_argument("store", type=Path)
    parser.add_argument("--small-rounds", type=int, default=0)
    parser.add_argument("--until", type=int, default=0)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--keep-text", action="store_true", default=None)
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the receiver, which tells us
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        lock = Ownership(given.store, WRITER_NAME, WRITER_ENDS_S)
        limits, small_rounds = Limits.from_settings(given.keep_text), (given.small_rounds, given.until)
        WorkerProcess(given.store, limits, given.skip, small_rounds).run()
        lock.release()
    except FlashoverError as error:
        _say(str(error))
        return error.exit_code
    except OSError as error:
        if error.errno is None:  # a library's own, about what it was given
            raise
        where = f": {error.filename}" if error.filename else ""
        _say(f"{os.strerror(error.errno)}{where}")
        return StorageFull.exit_code
    return 0


def _say(text: str) -> None:
    """A line on stderr, as far as it goes: that may lie on the same full disk, and the exit code must be right."""
    with suppress(OSError):
        os.write(2, f"flashover collect: worker: {' '.join(text.split())}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
