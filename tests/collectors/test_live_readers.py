"""Readers beside a live collector: each sees one published snapshot of all tables, whole, and never an error."""

from __future__ import annotations

import threading
from pathlib import Path

from running_collector import RunningCollector, wait_until
from senders import NUMBERS_SQL, Senders

from collectors.snapshot import read_snapshot
from collectors.store import Store

READERS, READS = 3, 12


def test_what_readers_count_is_what_a_snapshot_has(quick_path: Path) -> None:
    """Every frame is one row, so the rows of one snapshot are as many as its last frame, and no two carry one number."""
    collector = RunningCollector(quick_path / "store", FLASHOVER_STORE_VACUUM_AFTER_S="600")
    collector.start()
    senders, wrong, seen = Senders(collector, 4), list[object](), set[int]()

    def read() -> None:
        for _ in range(READS):
            before = read_snapshot(collector.store)
            with Store.open(collector.store) as store:
                numbers = store.query(NUMBERS_SQL).column("number").to_pylist()
                frames = store.query("SELECT frame FROM spans UNION ALL SELECT frame FROM samples UNION ALL "
                                     "SELECT frame FROM logs").column("frame").to_pylist()
            after = read_snapshot(collector.store)
            assert before is not None and after is not None
            if not (before.seq <= len(numbers) <= after.seq and sorted(frames) == list(range(1, len(numbers) + 1))
                    and len(set(numbers)) == len(numbers)):
                wrong.append((before.seq, len(numbers), after.seq))
            seen.add(len(numbers))

    def reader() -> None:
        try:
            read()
        except BaseException as error:
            wrong.append(error)
            raise

    try:
        wait_until(lambda: (collector.store / "snapshot.json").exists())
        readers = [threading.Thread(target=reader) for _ in range(READERS)]
        for thread in readers:
            thread.start()
        for thread in readers:
            thread.join()
        senders.end()
        assert wrong == []
        assert len(seen) > 2
        assert collector.stop() == 0
    finally:
        senders.end()
        collector.end()
