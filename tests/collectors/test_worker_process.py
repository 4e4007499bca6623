"""A worker knows what it is told, and rests until that is worth a round."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from collectors.frames import Place
from collectors.service.worker_pipe import STOP_LINE, frames_line
from collectors.service.worker_process import FULL_BYTES, ToldFrames

LONG_S = 60.0


def test_small_frames_may_wait_and_a_full_round_or_a_stop_may_not(tmp_path: Path) -> None:
    reading, writing = os.pipe()  # not closed: the end of the pipe is the end of a worker's process
    frames = ToldFrames(tmp_path, str(uuid.UUID(int=7)), 4, reading)

    def tell(seq: int, size: int) -> None:
        os.write(writing, frames_line([Place(seq, "logs", tmp_path / "journal" / "1.wal", 0, size)]))

    tell(4, FULL_BYTES)  # known before
    tell(5, FULL_BYTES - 1)
    frames.wait(LONG_S, 4)
    assert frames.synced_seq == 5 and not frames.rest(0.0)
    tell(6, 1)
    assert frames.rest(LONG_S)
    frames.drop_through(5)
    assert not frames.rest(0.0)
    frames.drop_through(6)
    os.write(writing, STOP_LINE)
    assert frames.rest(LONG_S) and frames.stopping
