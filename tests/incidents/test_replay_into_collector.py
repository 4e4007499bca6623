"""``flashover replay --export`` into a real collector: the same store as in process, row for row."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from running_collector import RunningCollector, wait_until
from small_fleet import scenario_file as small_scenario

from collectors.store import Store
from incidents.commands import replay as replay_verb


@pytest.fixture(scope="module")
def scenario_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_scenario(tmp_path_factory.mktemp("scenario"), requests=600, trace_s=190, duration_s=200)


def rows(store: Store, table: str) -> list[dict[str, object]]:
    return sorted(store.query(f"SELECT * FROM {table}").to_pylist(), key=repr)


def test_the_network_path_gives_the_store_of_the_process(scenario_file: Path, tmp_path: Path) -> None:
    direct, sent = tmp_path / "direct", tmp_path / "sent"
    assert replay_verb.main([str(scenario_file), "--out", str(direct)]) == 0
    collector = RunningCollector(sent)
    try:
        collector.start()
        assert replay_verb.main([str(scenario_file), "--export", f"http://127.0.0.1:{collector.port}"]) == 0
        assert collector.stop() == 0
    finally:
        collector.end()
    with Store.open(direct) as one, Store.open(sent) as other:
        assert one.warnings == other.warnings == []
        for table in one.tables():
            assert rows(one, table) == rows(other, table), table
        assert all(rows(other, table) for table in ("spans", "requests", "steps", "series", "samples", "events", "edges"))


def test_a_worker_that_dies_on_the_way_changes_nothing(scenario_file: Path, tmp_path: Path) -> None:
    """Its death comes while bodies come in, and the worker after it finds the tables ahead of the snapshot, or behind."""
    direct, sent = tmp_path / "direct", tmp_path / "sent"
    assert replay_verb.main([str(scenario_file), "--out", str(direct)]) == 0
    collector, killed = RunningCollector(sent), list[int]()

    def kill_workers() -> None:
        for _ in range(3):
            wait_until(lambda: collector.worker_pid() not in (None, *killed))
            pid = collector.worker_pid() or 0
            wait_until(lambda: (sent / "snapshot.json").exists())
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    try:
        collector.start()
        killer = threading.Thread(target=kill_workers)
        killer.start()
        assert replay_verb.main([str(scenario_file), "--export", f"http://127.0.0.1:{collector.port}"]) == 0
        killer.join()
        assert collector.stop() == 0
    finally:
        collector.end()
    with Store.open(direct) as one, Store.open(sent) as other:
        for table in one.tables():
            assert rows(one, table) == rows(other, table), table
