"""``store check``: silent on a whole store, also beside a writer; whatever byte or file goes bad is named with its rows."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_store import BEGIN, MadeStore, gauge
from otlp_bodies import body_of

from collectors.check_store import check_store
from collectors.errors import StoreUnreadable
from collectors.intake import Intake
from collectors.store import Store
from collectors.tables.checksums import NAME, Checksums, read_checksums
from collectors.tables.hours import HOUR_NS, hour_name
from collectors.tables.upkeep import UpkeepOptions


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with checkpoints, joined files, and nothing that waits to be deleted; frames of it wait in the journal."""
    path = tmp_path_factory.mktemp("whole") / "store"
    store = MadeStore(path, UpkeepOptions(vacuum_after_s=0))
    for frame in range(1, 46):
        store.put("samples", [gauge(series, frame * HOUR_NS // 20, float(frame), frame) for series in (1, 2)])
    store.put("logs", [{"ts_ns": BEGIN + 5, "body": "text", "frame": 46}])
    store.put("rejects", [{"frame": 47, "signal": "logs", "reason": "bad", "body": b"\xff"}])
    store.keep_up(all_hours=True)
    return path


def test_a_whole_store_has_no_finding(whole: Path) -> None:
    assert check_store(whole) == []


def needed(store: Path) -> list[Path]:
    """Every file that a reader relies on."""
    return sorted(path for path in store.rglob("*") if path.is_file() and path.suffix != ".lock")


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_byte_that_flips_and_any_file_that_is_cut_or_gone_is_named(
    whole: Path, quick_path: Path, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory(dir=quick_path) as folder:
        store = Path(shutil.copytree(whole, Path(folder) / "copy"))
        file = data.draw(st.sampled_from(needed(store)))
        content = bytearray(file.read_bytes())
        harm = data.draw(st.sampled_from(["flip", "cut", "remove"]))
        at = data.draw(st.integers(0, len(content) - 1))
        if harm == "remove":
            file.unlink()
        elif harm == "cut":
            os.truncate(file, at)
        else:
            content[at] ^= 1 << data.draw(st.integers(0, 7))
            file.write_bytes(content)
        if file.name == NAME and (harm != "flip" or at == len(content) - 1):  # fewer checksums: the rest is checked
            assert check_store(store) == []
            return
        if file.name == "store.json" and harm == "remove":
            with pytest.raises(StoreUnreadable, match="no store"):
                check_store(store)
            return
        found = check_store(store)
        assert found and any(finding.path == str(file) for finding in found), [str(finding) for finding in found]


def test_what_is_damaged_is_said_with_its_table_hour_rows_and_remedy(whole: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(whole, tmp_path / "copy"))
    hour = hour_name(BEGIN // HOUR_NS + 1)
    (file,) = (store / f"tables/samples/hour={hour}").glob("*.parquet")
    file.write_bytes(file.read_bytes().replace(b"PAR1", b"PAR2"))
    (found,) = check_store(store)
    assert found.path == str(file) and found.state == "its checksum does not hold"
    assert found.touches.startswith(f"40 rows of samples of {hour}, ") and "from a copy" in found.remedy
    assert str(found).count("; ") == 2
    file.unlink()
    (found,) = check_store(store)
    assert found.state == "is missing" and "40 rows" in found.touches


def test_a_file_without_a_checksum_is_held_against_the_log(quick_path: Path) -> None:
    """As older stores have them: same size, but no footer; and a log that says other rows."""
    store = MadeStore(quick_path / "s")
    store.put("samples", [gauge(1, 5, 1.0)])
    (live,) = store.tables.live("samples")
    folder = store.path / "tables/samples"
    old = Path(live.path).with_name("part-00000-abc-c000.zstd.parquet")
    (folder / live.path).rename(folder / old)
    entry = folder / f"_delta_log/{1:020d}.json"
    entry.write_text(entry.read_text().replace(live.path, str(old)))
    (store.path / NAME).unlink()
    assert check_store(store.path) == []
    content = (folder / old).read_bytes()
    (folder / old).write_bytes(content[:-8] + b"\0" * 8)
    (found,) = check_store(store.path)
    assert "footer cannot be read" in found.state
    (folder / old).write_bytes(content)
    entry.write_text(entry.read_text().replace('\\"numRecords\\": 1', '\\"numRecords\\": 2'))
    (found,) = check_store(store.path)
    assert found.state == "has 1 rows, and the log says 2"


def test_checks_beside_a_writer_find_nothing(quick_path: Path) -> None:
    """Between any two rounds and pieces of upkeep, and with the journal being written."""
    with Intake.open(quick_path / "store") as intake:
        for seq in range(1, 31):
            intake.put(*body_of(seq))
            if seq % 5 == 0:
                intake.sync()
                intake.drain()
                assert check_store(intake.path) == []
    assert check_store(quick_path / "store") == []


def test_a_damaged_journal_is_found_when_nobody_writes(quick_path: Path) -> None:
    with Intake.open(quick_path / "store") as intake:
        intake.put(*body_of(1))
        intake.sync()
        intake.drain()
        intake.put(*body_of(2))
        intake.put(*body_of(3))
        intake.sync()
        copy = Path(shutil.copytree(intake.path, quick_path / "copy"))
    (file,) = (copy / "journal").glob("*.wal")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    found = check_store(copy)
    assert [finding.path for finding in found] == [str(file)] and "recover" in found[0].remedy


def test_a_torn_last_line_of_checksums_is_no_damage_and_goes_at_the_next_start(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 9)
    sums = Checksums(tmp_path)
    sums.note([tmp_path / "a", tmp_path / "b"])
    whole = (tmp_path / NAME).read_bytes()
    for cut in range(len(whole)):
        (tmp_path / NAME).write_bytes(whole[:cut])
        assert read_checksums(tmp_path).damaged == []
        again = Checksums(tmp_path)
        again.note([tmp_path / "a", tmp_path / "b"])
        noted = read_checksums(tmp_path)
        assert noted.damaged == [] and set(noted.sums) == {"a", "b"}
    again.forget([tmp_path / "a"])
    assert set(read_checksums(tmp_path).sums) == {"b"} and not again.knows(tmp_path / "a")


def test_a_store_with_findings_may_still_be_read_where_it_is_whole(whole: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(whole, tmp_path / "copy"))
    file = next((store / "tables/samples").glob("hour=*/*.parquet"))
    content = bytearray(file.read_bytes())
    content[10] ^= 1
    file.write_bytes(content)
    assert len(check_store(store)) == 1
    with Store.open(store) as source:
        assert source.query("SELECT body FROM logs").to_pylist() == [{"body": "text"}]
