"""``flashover store``: what it prints, what it exits with, and that it keeps its hands off a store that is in use."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from made_store import BEGIN, MadeStore, gauge
from otlp_bodies import body_of

from collectors.clock import ManualClock, iso
from collectors.commands import store as command
from collectors.intake import Intake
from collectors.schema import TABLES
from collectors.seal import seal
from collectors.snapshot import SNAPSHOT_NAME
from collectors.store import Store
from collectors.store_care import vacuum_store

Capture = pytest.CaptureFixture[str]
SQL = "SELECT series_id, ts_ns, value FROM samples ORDER BY ts_ns"


@pytest.fixture
def many(quick_path: Path) -> Path:
    """A store of 30 small files in one hour."""
    store = MadeStore(quick_path / "many", now_ns=BEGIN)
    for frame in range(30):
        store.put("samples", [gauge(1, frame, float(frame), frame)])
    return store.path


def told(capsys: Capture, *argv: str, code: int = 0) -> Any:
    """What the verb prints as JSON."""
    capsys.readouterr()
    assert command.main([*argv, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def samples_of(path: Path) -> list[dict[str, Any]]:
    with Store.open(path) as store:
        found: list[dict[str, Any]] = store.query(SQL).to_pylist()
    return found


def test_stats_say_rows_bytes_files_hours_and_times(many: Path, capsys: Capture) -> None:
    found = told(capsys, "stats", str(many))
    by_name = {table["name"]: table for table in found["tables"]}
    assert list(by_name) == list(TABLES)
    live = list((many / "tables/samples").rglob("hour=*/*.parquet"))
    assert by_name["samples"] == {"name": "samples", "rows": 30, "files": 30, "hours": 1,
                                  "size": sum(path.stat().st_size for path in live)}
    assert (found["first_ns"], found["last_ns"]) == (BEGIN, BEGIN + 29)
    assert (found["journal_frames"], found["drops"], found["removed"]) == (0, {}, {})
    assert found["disk_bytes"] == sum(path.stat().st_size for path in (many / "tables").rglob("*") if path.is_file())
    assert command.main(["stats", str(many)]) == 0
    text = capsys.readouterr().out
    assert any(line.split() == ["samples", "30", str(by_name["samples"]["size"]), "30", "1"] for line in text.splitlines())
    assert f"from {iso(BEGIN)} to {iso(BEGIN + 29)}" in text


def test_stats_count_what_waits_in_the_journal_and_what_retention_took(quick_path: Path, capsys: Capture) -> None:
    with Intake.open(quick_path / "store") as intake:
        intake.put(*body_of(1))
        intake.sync()
        intake.drain()
        intake.put(*body_of(2))
        intake.sync()
        found = told(capsys, "stats", str(intake.path))
        assert found["journal_frames"] == 1 and found["journal_bytes"] > 0
    store = MadeStore(quick_path / "other")
    store.put("samples", [gauge(1, 0, 1.0)])
    store.snapshot.removed, store.snapshot.drops = {"hours": 2, "rows": 7, "bytes": 9}, {"prompt_text": 3}
    store.publish()
    assert command.main(["stats", str(store.path)]) == 0
    text = capsys.readouterr().out
    assert "removed by retention: 2 hours, 7 rows, 9 bytes" in text and "3 times prompt_text" in text


def test_compact_joins_and_vacuum_wins_the_bytes_back(many: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    before = samples_of(many)
    found = told(capsys, "compact", str(many))
    assert found["files_before"] == 30 and found["files_after"] == 2  # samples, and their minutes
    assert found["bytes_after"] < found["bytes_before"] and samples_of(many) == before
    waits = told(capsys, "vacuum", str(many))
    assert waits["files"] == waits["bytes_won"] == 0 and 3000 < waits["wait_s"] <= 3600
    assert command.main(["vacuum", str(many)]) == 0
    assert "FLASHOVER_STORE_VACUUM_AFTER_S=0" in capsys.readouterr().err
    monkeypatch.setenv("FLASHOVER_STORE_VACUUM_AFTER_S", "0")
    on_disk = told(capsys, "stats", str(many))["disk_bytes"]
    won = told(capsys, "vacuum", str(many))
    assert won["files"] >= 30 and won["wait_s"] == 0
    assert won["bytes_won"] == on_disk - told(capsys, "stats", str(many))["disk_bytes"] > 0
    assert samples_of(many) == before
    assert told(capsys, "vacuum", str(many))["files"] == 0
    assert command.main(["check", str(many)]) == 0


@pytest.mark.parametrize("leap_ns", [-10**18, -1, 0, 10**18])
def test_vacuum_by_any_clock_keeps_what_the_snapshot_names(many: Path, leap_ns: int) -> None:
    before = samples_of(many)
    now = (many / SNAPSHOT_NAME).stat().st_mtime_ns
    done = vacuum_store(many, 3600, ManualClock(max(0, now + leap_ns)))
    assert samples_of(many) == before and command.main(["check", str(many)]) == 0
    assert (done.files > 0) == (leap_ns > 0)  # log entries before the last checkpoint


@pytest.mark.parametrize("action", ["compact", "vacuum", "recover"])
def test_a_store_in_use_is_left_alone_and_its_owner_named(quick_path: Path, capsys: Capture, action: str) -> None:
    with Intake.open(quick_path / "store") as intake:
        intake.put(*body_of(1))
        intake.sync()
        intake.drain()
        assert command.main([action, str(intake.path)]) == 3
        assert f"owned by process {os.getpid()}" in capsys.readouterr().err
        assert command.main(["stats", str(intake.path)]) == 0
        assert command.main(["check", str(intake.path)]) == 0
        out, err = capsys.readouterr()
        assert "spans" in out and "being written" in err


@pytest.mark.parametrize("action", ["stats", "compact", "vacuum", "check", "recover"])
def test_what_is_no_store_is_refused_in_one_line_and_not_made_one(tmp_path: Path, capsys: Capture, action: str) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "missing"):
        assert command.main([action, str(place)]) in (2, 3)
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and "Traceback" not in err
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_check_names_damage_and_exits_with_1(many: Path, capsys: Capture) -> None:
    assert told(capsys, "check", str(many)) == {"rows": {name: 30 * (name == "samples") + (name == "rollups")
                                                        for name in TABLES}, "findings": [], "warnings": []}
    file = next((many / "tables/samples").rglob("hour=*/*.parquet"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    found = told(capsys, "check", str(many), code=1)["findings"]
    assert [(one["path"], one["state"]) for one in found] == [(str(file), "its checksum does not hold")]
    assert command.main(["check", str(many)]) == 1
    assert f"damage: {file}: its checksum does not hold; 1 rows of samples" in capsys.readouterr().err
    file.unlink()
    found = told(capsys, "check", str(many), code=1)
    assert found["rows"] == {} and found["findings"][0]["state"] == "is missing"


def test_check_reads_a_sealed_file_whole(many: Path, quick_path: Path, capsys: Capture) -> None:
    sealed = quick_path / "incident.duckdb"
    with Store.open(many) as store:
        seal(store, sealed)
    assert told(capsys, "check", str(sealed))["rows"]["samples"] == 30
    content = bytearray(sealed.read_bytes())
    codes = set()
    for at in range(20_000, len(content), 40_000):
        bad = quick_path / "bad.duckdb"
        bad.write_bytes(content[:at] + bytes(byte ^ 255 for byte in content[at : at + 40]) + content[at + 40 :])
        codes.add(command.main(["check", str(bad)]))
    assert 3 in codes and codes <= {0, 3}  # 0: bytes that nothing uses
    assert "Traceback" not in capsys.readouterr().err


def test_compact_takes_in_what_a_crash_left_in_the_journal(quick_path: Path, capsys: Capture) -> None:
    intake = Intake.open(quick_path / "store")
    for seq in range(1, 8):
        intake.put(*body_of(seq))
    intake.sync()
    crashed = Path(shutil.copytree(intake.path, quick_path / "crashed"))
    intake.close()
    told(capsys, "compact", str(crashed))
    with Store.open(crashed) as one, Store.open(quick_path / "store") as other:
        for name in TABLES:
            count = f"SELECT count(*) AS n FROM {name}"
            assert one.query(count).to_pylist() == other.query(count).to_pylist()
