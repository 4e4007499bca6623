"""A worker that dies, hangs or meets a body that kills it: the keeper goes on, and says so."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectors.clock import MonotonicClock
from collectors.frames import Place
from collectors.service.worker_keeper import WorkerKeeper

WORKER = textwrap.dedent('''
    import json, os, sys, time
    store, options = sys.argv[1], sys.argv[2:]
    given = {name: int(options[options.index(name) + 1]) if name in options else 0
             for name in ("--skip", "--small-rounds", "--until")}
    state = os.path.join(store, "seq")
    seq = int(open(state).read()) if os.path.exists(state) else 0
    def report(doing, trying=0):
        print(json.dumps(["report", {"seq": seq, "doing": doing, "trying": trying, "rows": {"logs": 1}}]), flush=True)
    def take(numbers):
        global seq
        report("decoding", numbers[-1])
        for number in numbers:
            hang, kill = os.path.join(store, f"hangs-{number}"), os.path.join(store, f"kills-{number}")
            if os.path.exists(hang):
                os.unlink(hang); time.sleep(600)
            if os.path.exists(kill) and number != given["--skip"]: os._exit(9)
            if os.path.exists(os.path.join(store, "disk-is-full")): os._exit(3)
        seq = numbers[-1]
        open(state + ".new", "w").write(str(seq))
        os.replace(state + ".new", state)
        report("decoded")
    report("starting")
    for line in sys.stdin:
        said = json.loads(line)
        if said[0] == "stop":
            report("stopped"); break
        numbers = [frame[0] for frame in said[1] if frame[0] > seq]
        while numbers:
            most = given["--small-rounds"] if seq < given["--until"] else len(numbers)
            take(numbers[:most])
            numbers = numbers[most:]
''')


class Scene:
    """A keeper over a worker of few lines, and what it told."""

    def __init__(self, store: Path, frames: int, stuck_after_s: float = 60.0) -> None:
        script = store / "worker.py"
        script.write_text(WORKER)
        self.events, self.decoded = list[tuple[str, dict[str, Any]]](), list[int]()
        self.places = [Place(seq, "logs", store / "j.wal", 0, 1) for seq in range(1, frames + 1)]
        self.keeper = WorkerKeeper(store, self.places[: frames // 2], 0, stuck_after_s, MonotonicClock(), self.decoded.append,
                                   lambda name, **fields: self.events.append((name, fields)),
                                   command=(sys.executable, str(script)))

    async def play(self, until: Callable[[], bool]) -> None:
        """Run the keeper until ``until`` holds, then stop it."""
        running = asyncio.create_task(self.keeper.run())
        self.keeper.tell(self.places[len(self.places) // 2:])
        while not until():
            assert not running.done()
            await asyncio.sleep(0.01)
        self.keeper.stop()
        await running


def test_frames_told_before_and_after_the_start_reach_the_worker(tmp_path: Path) -> None:
    async def work() -> None:
        scene = Scene(tmp_path, 10)
        await scene.play(lambda: scene.keeper.report.seq == 10)
        assert scene.decoded[-1] == 10 and not scene.keeper.waiting and scene.keeper.restarts == 0 and scene.events == []

    asyncio.run(asyncio.wait_for(work(), 60))


def test_a_killed_worker_is_started_anew_and_goes_on(tmp_path: Path) -> None:
    async def work() -> None:
        scene, killed = Scene(tmp_path, 10), set[int]()

        def done() -> bool:
            pid = scene.keeper.pid
            if pid is not None and len(killed) < 3 and pid not in killed and scene.keeper.report.doing != "dead":
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            return len(killed) == 3 and scene.keeper.report.seq == 10 and scene.keeper.restarts == 3

        await scene.play(done)
        assert [name for name, _ in scene.events] == ["worker_died"] * 3
        assert scene.events[0][1]["exit_code"] == -signal.SIGKILL

    asyncio.run(asyncio.wait_for(work(), 60))


@pytest.mark.parametrize("poison", [1, 333, 600])
def test_a_body_that_kills_every_worker_is_found_and_skipped(tmp_path: Path, poison: int) -> None:
    (tmp_path / f"kills-{poison}").touch()

    async def work() -> None:
        scene = Scene(tmp_path, 600)
        await scene.play(lambda: scene.keeper.report.seq == 600)
        assert scene.events[-1][1]["skip"] == poison
        assert {fields["skip"] for _, fields in scene.events} == {0, poison}

    asyncio.run(asyncio.wait_for(work(), 120))


def test_a_worker_that_hangs_is_a_problem_and_then_killed(tmp_path: Path) -> None:
    (tmp_path / "hangs-4").touch()

    async def work() -> None:
        scene, stuck = Scene(tmp_path, 10, stuck_after_s=0.2), list[float]()

        def done() -> bool:
            if scene.keeper.stuck_s():
                stuck.append(scene.keeper.stuck_s())
            return scene.keeper.report.seq == 10

        await scene.play(done)
        assert stuck and [name for name, _ in scene.events] == ["worker_stuck", "worker_died"]
        assert scene.keeper.stuck_s() == 0

    asyncio.run(asyncio.wait_for(work(), 60))


def test_counts_go_on_over_the_lives_of_workers(tmp_path: Path) -> None:
    (tmp_path / "kills-3").touch()

    async def work() -> None:
        scene = Scene(tmp_path, 4)
        await scene.play(lambda: scene.keeper.report.seq == 4)
        assert scene.keeper.counts("rows") == {"logs": scene.keeper.restarts + 1}

    asyncio.run(asyncio.wait_for(work(), 60))


def test_no_frame_is_skipped_for_what_the_worker_named_as_the_cause(tmp_path: Path) -> None:
    """As long as the disk is full, and it is told as a problem."""
    (tmp_path / "disk-is-full").touch()

    async def work() -> None:
        scene, said = Scene(tmp_path, 1, stuck_after_s=0.5), list[str]()

        def done() -> bool:
            if scene.keeper.restarts > 4 and scene.keeper.failing():
                said.append(scene.keeper.failing())
                (tmp_path / "disk-is-full").unlink(missing_ok=True)
            return scene.keeper.report.seq == 1

        await scene.play(done)
        assert said[0].startswith("the worker died 5 times and decoded nothing for ")
        assert [fields["exit_code"] for _, fields in scene.events] == [3] * len(scene.events)
        assert {fields["skip"] for _, fields in scene.events} == {0}
        assert scene.keeper.failing() == ""

    asyncio.run(asyncio.wait_for(work(), 120))


def test_a_worker_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    async def work() -> None:
        events = list[tuple[str, dict[str, Any]]]()
        script = tmp_path / "worker"
        keeper = WorkerKeeper(tmp_path, [], 0, 60.0, MonotonicClock(), lambda seq: None,
                              lambda name, **fields: events.append((name, fields)), command=(str(script),))
        running = asyncio.create_task(keeper.run())
        while keeper.restarts < 2:
            await asyncio.sleep(0.01)
        script.write_text(f"#!{sys.executable}\n{WORKER}")
        script.chmod(0o700)
        while keeper.report.doing != "starting" or keeper.pid is None:
            await asyncio.sleep(0.01)
        keeper.stop()
        await running
        assert events[0] == ("worker_not_started", {"why": "No such file or directory"})

    asyncio.run(asyncio.wait_for(work(), 60))
