"""A replay is the same twice, survives being killed anywhere, and refuses what it cannot play in one clear line."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from small_fleet import scenario_file as small_scenario

from collectors.intake import recover
from collectors.store import Store
from incidents.commands import incidents as incidents_verb
from incidents.commands import replay as replay_verb
from incidents.replay import replay
from instrumented_engine.loading import load_scenario
from instrumented_engine.scenario import Scenario

CHILD = Path(__file__).with_name("replay_child.py")
FRAMED = ["spans", "steps", "series", "samples", "events", "logs", "rejects"]
KILLS = 25


@pytest.fixture(scope="module")
def scenario_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_scenario(tmp_path_factory.mktemp("scenario"), requests=500, trace_s=230, duration_s=240)


@pytest.fixture(scope="module")
def whole(scenario_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "store"
    replay(load_scenario(scenario_file), out)
    return out


def rows_by_frame(path: Path) -> dict[str, dict[int, int]]:
    with Store.open(path) as store:
        return {
            table: dict(zip(*store.query(
                f"SELECT frame, count(*) AS n FROM {table} GROUP BY frame ORDER BY frame").to_pydict().values(), strict=True))
            for table in FRAMED
        }


def test_a_seed_gives_the_same_bytes_twice(scenario_file: Path, tmp_path: Path) -> None:
    scenario = load_scenario(scenario_file)
    first, second = replay(scenario, tmp_path / "a"), replay(scenario, tmp_path / "b")
    assert first.sha256 == second.sha256
    other = replay(load_scenario(scenario_file, ["seed=2"]), tmp_path / "c")
    assert other.sha256 != first.sha256


def test_both_scales_and_the_clipped_requests_are_facts_in_the_store(whole: Path) -> None:
    with Store.open(whole) as store:
        facts = dict(store.query("SELECT attributes FROM events WHERE kind = 'run'").to_pylist()[0]["attributes"])
    assert float(facts["flashover.prompt_scale"]) == 1 / 64
    assert float(facts["flashover.output_scale"]) == 1 / 4
    assert int(facts["flashover.clipped_requests"]) >= 0


def test_without_a_gpu_power_is_null_and_never_zero(whole: Path) -> None:
    with Store.open(whole) as store:
        row = store.query("SELECT count(*) AS n, count(energy_mj) AS energy, count(gpu_ns) AS gpu FROM requests").to_pylist()[0]
    assert row["n"] > 100 and row["energy"] == 0 and row["gpu"] == 0


def test_phases_sum_in_the_store_and_steps_point_at_requests(whole: Path) -> None:
    with Store.open(whole) as store:
        off = store.query("""
            SELECT count(*) AS n FROM requests
            WHERE e2e_ns <> gateway_ns + route_ns + kv_sync_ns + queue_ns + kv_transfer_ns + prefill_ns + decode_ns
                + preempted_ns + stream_ns""").to_pylist()[0]["n"]
        shared = store.query("""
            SELECT sum(u.tokens) AS tokens FROM (SELECT unnest(batch, recursive := true) FROM steps) AS u
            JOIN requests r ON r.engine_span_id = u.request""").to_pylist()[0]["tokens"]
        total = store.query("SELECT sum(engine_tokens) AS tokens FROM steps").to_pylist()[0]["tokens"]
    assert off == 0
    assert 0.9 * float(total) < float(shared) <= float(total)


def test_killed_anywhere_no_synced_row_is_lost_and_none_doubled(scenario_file: Path, whole: Path, tmp_path: Path) -> None:
    reference = rows_by_frame(whole)
    last_frame = max(max(frames) for frames in reference.values() if frames)
    rng = random.Random(11)
    killed_midway = 0
    for number in range(KILLS):
        out = tmp_path / f"store{number}"
        synced = kill_after(scenario_file, out, rng.randrange(0, last_frame), rng.random())
        killed_midway += 0 < synced < last_frame
        if not (out / "store.json").exists():
            assert synced == 0
            continue
        recover(out)
        for table, frames in rows_by_frame(out).items():
            expected = reference[table]
            for frame in expected.keys() | frames.keys():
                if frame <= synced or frame in frames:
                    assert frames.get(frame, 0) == expected.get(frame, 0), f"{table}, frame {frame}, synced {synced}"
    assert killed_midway > KILLS // 2


def kill_after(scenario: Path, out: Path, frame: int, fraction: float) -> int:
    """Start a replay, let it get beyond ``frame`` durable frames and a random moment more, kill it; the last one it had."""
    child = subprocess.Popen([sys.executable, str(CHILD), str(scenario), str(out)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    synced = 0
    while synced < frame and (line := child.stdout.readline()) and line != "done\n":
        synced = int(line)
    try:
        child.wait(timeout=0.2 * fraction)
    except subprocess.TimeoutExpired:
        child.kill()
    rest = child.stdout.read().split()
    child.stdout.close()
    child.wait()
    return max([synced, *(int(word) for word in rest if word.isdigit())])


@pytest.mark.parametrize(("words", "part"), [
    (["kv-sync-rebalanc", "--out", "X"], "did you mean 'kv-sync-rebalance'"),
    (["kv-sync-rebalance", "--out", "X", "--set", "replica.kv_blok=3"], "did you mean 'kv_blocks'"),
    (["kv-sync-rebalance", "--out", "X", "--set", "cluster.replicas=0"], "cluster.replicas = 0"),
    (["kv-sync-rebalance", "--out", "X", "--compress", "-1"], "workload.compress = -1"),
    (["kv-sync-rebalance", "--out", "X", "--workload", "missing.jsonl"], "missing.jsonl: cannot be read"),
    (["nowhere/scenario.toml", "--out", "X"], "nowhere/scenario.toml: cannot be read"),
])
def test_bad_input_is_one_clear_line_and_exit_2(
    words: list[str], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert replay_verb.main(words) == 2
    shown = capsys.readouterr()
    assert part in shown.err
    assert "Traceback" not in shown.err and shown.out == ""
    assert not (tmp_path / "X").exists() or not any((tmp_path / "X").iterdir())


def test_a_store_is_never_written_over(whole: Path, scenario_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay_verb.main([str(scenario_file), "--out", str(whole)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_the_library_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert incidents_verb.main([]) == 0
    assert "kv-sync-rebalance" in capsys.readouterr().out


def test_every_library_scenario_is_valid_and_names_a_shipped_workload() -> None:
    from incidents.library_index import incidents
    from instrumented_engine.clients.traces import shipped_workloads

    for entry in incidents():
        assert isinstance(entry.scenario, Scenario)
        assert entry.scenario.workload.file in shipped_workloads()
        assert (entry.folder / "truth.toml").exists() and (entry.folder / "README.md").exists()
