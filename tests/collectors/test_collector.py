"""A collector's ways to begin and to end, and what it does when the disk is full, a second one comes, or power fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from otlp_bodies import START, log_body
from running_collector import RunningCollector, wait_until
from senders import NUMBERS_SQL, Senders, numbered_body

from collectors.frames import FRAME_BYTES
from collectors.journal import journal_files
from collectors.store import Store


@pytest.fixture
def collector(quick_path: Path) -> Iterator[RunningCollector]:
    running = RunningCollector(quick_path / "store")
    yield running
    running.end()


def numbers(store: Path) -> Counter[int]:
    with Store.open(store) as opened:
        return Counter(opened.query(NUMBERS_SQL).column("number").to_pylist())


def test_one_line_when_ready_and_a_term_signal_drains(collector: RunningCollector) -> None:
    line = collector.start()
    assert line == f"ready: http 127.0.0.1:{collector.port}, store {collector.store}\n"
    for number in range(40):
        assert collector.post(*numbered_body(number))[0] == 200
    assert collector.stop() == 0
    assert numbers(collector.store) == Counter(range(40))
    assert journal_files(collector.store) == []
    with Store.open(collector.store) as store:
        assert store.warnings == []


def test_health_and_metrics_tell_how_far_it_is(collector: RunningCollector) -> None:
    collector.start()
    for number in range(9):
        collector.post(*numbered_body(number))
    collector.post(*numbered_body(0))
    wait_until(lambda: json.loads(collector.get("/health")[1])["decoded_seq"] == 9)
    status, answer = collector.get("/health")
    said = json.loads(answer)
    assert status == 200 and said["problems"] == [] and said["journal_frames"] == 0
    assert said["rows"]["spans"] == said["rows"]["samples"] == said["rows"]["logs"] == 3
    page = collector.get("/metrics")[1].decode()
    assert 'flashover_collector_rows_total{table="spans"} 3.0' in page
    assert 'outcome="duplicate"' in page
    assert collector.stop() == 0


def test_a_second_collector_of_a_store_is_refused_with_the_owner_s_pid(collector: RunningCollector) -> None:
    collector.start()
    other = RunningCollector(collector.store)
    with pytest.raises(AssertionError, match=f"owned by process {collector.pid};"):
        other.start()
    assert collector.post(*numbered_body(1))[0] == 200
    assert collector.stop() == 0
    assert numbers(collector.store) == {1: 1}


def test_an_address_in_use_is_named_with_the_fix_and_leaves_no_process(collector: RunningCollector) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        collector.port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match="--http"):
            collector.start()
    collector.port = 0
    collector.start()
    assert collector.stop() == 0


def test_a_receiver_that_is_killed_takes_its_worker_along(collector: RunningCollector) -> None:
    collector.start()
    wait_until(lambda: collector.worker_pid() is not None)
    worker = collector.worker_pid()
    collector.kill()
    wait_until(lambda: not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text().split()[2])


def test_a_worker_that_hangs_fails_health_and_then_goes_on(quick_path: Path) -> None:
    collector = RunningCollector(quick_path / "store", FLASHOVER_COLLECT_STUCK_AFTER_S="1")
    try:
        collector.start()
        wait_until(lambda: json.loads(collector.get("/health")[1])["doing"] == "starting")
        os.kill(collector.worker_pid() or 0, signal.SIGSTOP)
        assert collector.post(*numbered_body(1))[0] == 200
        wait_until(lambda: collector.get("/health")[0] == 503)
        assert "made no progress" in json.loads(collector.get("/health")[1])["problems"][0]
        wait_until(lambda: json.loads(collector.get("/health")[1])["decoded_seq"] == 1)
        assert collector.get("/health")[0] == 200
        assert collector.stop() == 0
    finally:
        collector.end()


def test_what_was_not_synced_when_power_failed_is_dropped_and_the_rest_goes_on(collector: RunningCollector) -> None:
    """The worst that a power cut leaves: a whole frame and a torn one behind the last that was synced, or zeros."""
    collector.start()
    os.kill(collector.worker_pid() or 0, signal.SIGSTOP)
    for number in range(20):
        assert collector.post(*numbered_body(number))[0] == 200
    worker = collector.worker_pid() or 0
    collector.kill()
    os.kill(worker, signal.SIGKILL)
    (wal,) = journal_files(collector.store)
    whole = wal.read_bytes()
    for turn, tail in enumerate((whole[-FRAME_BYTES - 9:-5], bytes(4096), b"\xff" * 100)):
        again = RunningCollector(collector.store.with_name(f"store{turn}"))
        shutil.copytree(collector.store, again.store)
        with (again.store / "journal" / wal.name).open("ab") as file:
            file.write(tail)
        try:
            again.start()
            assert again.post(*numbered_body(19))[0] == 200  # a retry of what was durable
            assert again.post(*numbered_body(20))[0] == 200
            assert again.stop() == 0
        finally:
            again.end()
        assert numbers(again.store) == Counter(range(21))
        with Store.open(again.store) as store:
            assert len(store.warnings) == 1 and wal.name in store.warnings[0]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 24 MiB; skipped where none may be mounted."""
    with tempfile.TemporaryDirectory() as name:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", name], capture_output=True, check=False)
        if mounted.returncode != 0:
            pytest.skip(f"no small disk: {mounted.stderr.decode().strip()}; the injected error of test_group_commit stands in")
        yield Path(name)
        subprocess.run(["umount", "-l", name], check=True)


def test_a_full_disk_is_answered_503_and_costs_nothing(small_disk: Path) -> None:
    collector = RunningCollector(small_disk / "store")
    try:
        collector.start()
        senders = Senders(collector, 2, pause_s=0.005)
        senders.wait_for(100)
        with (small_disk / "ballast").open("ab", buffering=0) as ballast:
            for block in (1 << 16, 4096):  # the last blocks, which journal and tables want too
                with suppress(OSError):
                    while True:
                        ballast.write(b"x" * block)
        wait_until(lambda: senders.refused.get(503, 0) > 20)
        status, said = collector.get("/health")
        assert status == 503 and "disk" in json.loads(said)["problems"][0]
        before = len(senders.answered)
        (small_disk / "ballast").unlink()
        senders.wait_for(100)
        senders.end()
        wait_until(lambda: json.loads(collector.get("/health")[1])["journal_frames"] == 0)
        assert collector.get("/health")[0] == 200
        assert collector.stop() == 0
        assert set(senders.refused) == {503} and len(senders.answered) > before
        assert numbers(collector.store) == Counter(senders.answered)
    finally:
        collector.end()


def test_no_body_is_given_up_because_the_disk_was_full_for_long(small_disk: Path) -> None:
    """A worker that cannot write its rows dies again and again; the frame that it dies of is not to blame. The log lies on the
    same disk."""
    collector = RunningCollector(small_disk / "store")
    try:
        collector.start()
        wait_until(lambda: json.loads(collector.get("/health")[1])["doing"] == "starting")
        worker = collector.worker_pid() or 0
        os.kill(worker, signal.SIGSTOP)
        assert collector.post(*numbered_body(1))[0] == 200
        (small_disk / "ballast").write_bytes(b"x" * shutil.disk_usage(small_disk).free)
        os.kill(worker, signal.SIGCONT)
        wait_until(lambda: json.loads(collector.get("/health")[1])["restarts"] > 4)
        (small_disk / "ballast").unlink()
        wait_until(lambda: json.loads(collector.get("/health")[1])["decoded_seq"] == 1)
        assert collector.stop() == 0
        assert numbers(collector.store) == {1: 1}
    finally:
        collector.end()


def test_a_wrong_setting_of_the_worker_is_named_before_anything_is_taken(quick_path: Path) -> None:
    for name, given in (("COLLECT_SERIES", "lots"), ("STORE_KEEP_HOURS", "-1"), ("STORE_DUCKDB_MEMORY", "much")):
        collector = RunningCollector(quick_path / "store", **{f"FLASHOVER_{name}": given})
        with pytest.raises(AssertionError, match=rf"\$FLASHOVER_{name}: '{given}' is no value for"):
            collector.start()
    assert not (quick_path / "store").exists()


def test_journal_files_are_for_the_collector_and_its_group_and_stay_while_they_must(collector: RunningCollector) -> None:
    collector.start()
    in_the_way = collector.store / "journal" / "00000000000000000001.seen"
    in_the_way.mkdir()
    bodies = [log_body(START, os.urandom(5 << 20).hex()) for _ in range(2)]
    for body in bodies:  # together beyond the size at which a file whose frames are decoded is removed
        assert collector.post("logs", body)[0] == 200
    (wal,) = journal_files(collector.store)
    assert wal.stat().st_mode & 0o777 == 0o640
    wait_until(lambda: "journal_kept" in collector.said())
    assert collector.post("logs", bodies[0])[0] == 200
    assert collector.get("/health")[0] == 200 and wal.exists()
    in_the_way.rmdir()
    wait_until(lambda: not wal.exists())
    assert in_the_way.is_file()
    assert collector.stop() == 0
