"""SIGKILL of the receiver, the worker or both, at random moments under load: what was answered is in the store, once."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from pathlib import Path

from running_collector import RunningCollector, wait_until
from senders import NUMBERS_SQL, Senders

from collectors.store import Store

KILLS = 25


def numbers(store: Path) -> Counter[int]:
    with Store.open(store) as opened:
        return Counter(opened.query(NUMBERS_SQL).column("number").to_pylist())


def test_kills_of_receiver_and_worker_lose_and_double_nothing(quick_path: Path) -> None:
    collector, chance = RunningCollector(quick_path / "store"), random.Random(20260329)
    collector.start()
    senders = Senders(collector, 4)
    try:
        killed = Counter[str]()
        while killed.total() < KILLS:
            senders.wait_for(chance.randrange(1, 120))
            who = chance.choice(["receiver", "worker", "both"])
            worker = collector.worker_pid()
            if who != "receiver" and worker is None:
                continue
            if who != "receiver":
                os.kill(worker or 0, signal.SIGKILL)
            if who != "worker":
                collector.kill()
                collector.start()
            killed[who] += 1
        senders.end()
        wait_until(lambda: json.loads(collector.get("/health")[1])["journal_frames"] == 0, seconds=300)
        assert collector.stop() == 0
        assert all(killed[who] >= 5 for who in ("receiver", "worker", "both"))
        found = numbers(quick_path / "store")
        assert len(senders.answered) == len(set(senders.answered)) > KILLS
        assert set(senders.answered) - set(found) == set()
        assert [number for number, times in found.items() if times != 1] == []
        assert set(found) == set(senders.answered)  # every body was answered in the end
        with Store.open(quick_path / "store") as store:
            assert [warning for warning in store.warnings if "cut" not in warning] == []
    finally:
        senders.end()
        collector.end()
