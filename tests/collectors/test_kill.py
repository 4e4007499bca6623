"""SIGKILL at random points: of every synced frame each row is there exactly once, whatever else happened."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import dying
import pytest
from otlp_bodies import EXPECTED_SQL, body_of, expected_rows

from collectors.errors import StoreUnreadable
from collectors.intake import Intake, recover
from collectors.store import Store

KILLS = 25
FRAMES_A_LIFE = 36
PUTS_A_SYNC = 3
SYNCS_A_DRAIN = 6
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["otlp_bodies", "collectors.intake"])


def live(path: Path, pipe: Connection, die_at: int | None) -> None:
    """One life of an intake: puts, syncs and drains; sends every synced frame. ``die_at``: dies at that file operation."""
    if die_at is not None:
        dying.die_at(die_at)
    pipe.send("begins")
    intake = Intake.open(path, pipe.send, rotate_bytes=2_000)
    first = intake.synced_seq + 1
    for done, seq in enumerate(range(first, first + FRAMES_A_LIFE), start=1):
        intake.put(*body_of(seq))
        if done % PUTS_A_SYNC == 0:
            intake.sync()
        if done % (PUTS_A_SYNC * SYNCS_A_DRAIN) == 0:
            intake.drain()
    intake.close()
    pipe.send("ends")


def run_life(path: Path, kill_after_s: float | None, die_at: int | None = None) -> tuple[int, bool, float]:
    """Last synced frame that the life reported (0: none), whether it ended by itself, and how long it took."""
    ours, theirs = FORK.Pipe(duplex=False)
    child = FORK.Process(target=live, args=(path, theirs, die_at))
    child.start()
    theirs.close()
    assert ours.recv() == "begins"
    begun = time.monotonic()
    if kill_after_s is not None:
        child.join(kill_after_s)
        child.kill()
    synced, ended = 0, False
    while True:
        try:
            said = ours.recv()
        except EOFError:
            break
        if said == "ends":
            ended = True
        else:
            synced = said
    took = time.monotonic() - begun
    child.join()
    assert child.exitcode == (0 if ended else -signal.SIGKILL)  # a life that ends by an error is no kill
    child.close()
    ours.close()
    return synced, ended, took


def frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def check(path: Path) -> int:
    """The store holds the frames 1 to n, each row once; returns n."""
    with Store.open(path) as store:
        found = {name: Counter(tuple(frozen(value) for value in row.values()) for row in store.query(sql).to_pylist())
                 for name, sql in EXPECTED_SQL.items()}
        held = max((row[0] for name in ("spans", "samples", "logs", "rejects") for row in found[name]), default=0)
        warnings = [warning for warning in store.warnings if "rejects" not in warning and "not decoded yet" not in warning]
    assert all(held_once == 1 for rows in found.values() for held_once in rows.values())
    assert found == expected_rows(held)
    # A tear in the journal may only be what a kill between syncs leaves: the beginning of a frame never acknowledged.
    assert all("cut" in warning for warning in warnings)
    return held


def test_kills_at_random_points_lose_and_double_nothing(quick_path: Path) -> None:
    path, chance, acknowledged = quick_path / "store", random.Random(20260329), 0
    _, ended, life_s = run_life(quick_path / "measured", None)
    assert ended
    check(quick_path / "measured")
    killed = 0
    while killed < KILLS:
        synced, ended, _ = run_life(path, chance.uniform(0, 1.1) * life_s)
        killed += not ended
        acknowledged = max(acknowledged, synced)
        if killed % 5 == 0:
            try:
                check(path)
            except StoreUnreadable as error:
                assert "half-written" in str(error) or "no such" in str(error) or "no store" in str(error)
    recover(path)
    assert check(path) >= acknowledged > 0


@pytest.mark.parametrize("seed", range(3))
def test_kills_between_file_operations_lose_and_double_nothing(quick_path: Path, seed: int) -> None:
    """Each life dies just before one write, sync, rename or removal: the points that a clock seldom hits."""
    path, chance, acknowledged = quick_path / "store", random.Random(seed), 0
    for _ in range(8):
        synced, _, _ = run_life(path, None, die_at=chance.randint(1, 160))
        acknowledged = max(acknowledged, synced)
    recover(path)
    assert check(path) >= acknowledged > 0
