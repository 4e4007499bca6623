"""Opening a store: what is none says so in one line, what is damaged too, and a full disk costs nothing acknowledged."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from otlp_bodies import EXPECTED_SQL, START, body_of, expected_rows, log_body

from collectors.commands import sql as sql_command
from collectors.commands import store as store_command
from collectors.errors import BadInput, FlashoverError, StorageFull, StoreBusy, StoreUnreadable
from collectors.intake import Intake, recover
from collectors.journal import Journal
from collectors.schema import TABLES
from collectors.sink import Signal
from collectors.store import Store


def fill(path: Path, frames: int) -> None:
    with Intake.open(path) as intake:
        for seq in range(1, frames + 1):
            intake.put(*body_of(seq))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "store"
    fill(path, 31)
    return path


@pytest.fixture
def copied(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "copy"))


def rows_of(store: Store) -> dict[str, Counter[tuple[object, ...]]]:
    return {name: Counter(tuple(tuple(value) if isinstance(value, list) else value for value in row.values())
                          for row in store.query(sql).to_pylist()) for name, sql in EXPECTED_SQL.items()}


def test_a_store_gives_every_row_once_and_every_table_of_the_contract(filled: Path) -> None:
    with Store.open(filled) as store:
        assert rows_of(store) == expected_rows(31)
        assert store.tables() == list(TABLES)
        for name, table in TABLES.items():
            found = store.query(f"SELECT * FROM {name} LIMIT 3")
            assert found.schema.names == table.arrow.names
            found.cast(table.arrow).validate(full=True)
        assert store.frame("SELECT count(*) AS n FROM spans WHERE frame <= $last", {"last": 4}).item() == 3
        assert store.query("SELECT ? + 1 AS n", [41]).to_pylist() == [{"n": 42}]
        assert len(store.warnings) == 1 and "1 logs records could not be decoded" in store.warnings[0]


def test_an_intake_that_took_nothing_leaves_a_store_without_rows(tmp_path: Path) -> None:
    Intake.open(tmp_path / "store").close()
    with Store.open(tmp_path / "store") as store:
        assert not any(store.query(f"SELECT * FROM {name}").num_rows for name in store.tables())
        assert store.warnings == []


def test_an_intake_continues_where_it_was_closed(tmp_path: Path) -> None:
    for life in range(3):
        with Intake.open(tmp_path / "store") as intake:
            assert intake.synced_seq == life * 10
            for seq in range(life * 10 + 1, life * 10 + 11):
                intake.put(*body_of(seq))
    with Store.open(tmp_path / "store") as store:
        assert rows_of(store) == expected_rows(30)


def test_a_reader_beside_a_writer_sees_what_was_drained(tmp_path: Path) -> None:
    intake = Intake.open(tmp_path / "store")
    for seq in range(1, 16):
        intake.put(*body_of(seq))
        if seq == 9:
            intake.sync()
            intake.drain()
    intake.sync()
    with Store.open(tmp_path / "store") as early:
        intake.drain()
        with Store.open(tmp_path / "store") as late:
            intake.close()
            assert rows_of(early) == expected_rows(9)
            assert rows_of(late) == expected_rows(15)
            assert "being written" in early.warnings[0] and "frame 9" in early.warnings[0]


def unreadable(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The line that the command prints for a store it cannot read."""
    capsys.readouterr()
    with pytest.raises(StoreUnreadable):
        Store.open(path)
    assert sql_command.main([str(path), "SELECT 1"]) == 3
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "Traceback" not in err
    return err


def test_what_is_no_store_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file" in unreadable(tmp_path / "missing", capsys)
    assert "is no store" in unreadable(tmp_path, capsys)
    (tmp_path / "text.duckdb").write_text("hello, this is no database at all\n")
    assert "no sealed store" in unreadable(tmp_path / "text.duckdb", capsys)
    (tmp_path / "empty.duckdb").touch()
    assert "no sealed store" in unreadable(tmp_path / "empty.duckdb", capsys)


@pytest.mark.parametrize("file", ["store.json", "snapshot.json"])
def test_a_store_of_a_newer_schema_is_refused(copied: Path, capsys: pytest.CaptureFixture[str], file: str) -> None:
    content = json.loads((copied / file).read_text())
    (copied / file).write_text(json.dumps({**content, "schema_version": 99}))
    said = unreadable(copied, capsys)
    assert "99" in said and "newer" in said and file in said
    with pytest.raises(StoreUnreadable, match="newer"):
        Intake.open(copied)


def _no_identity(path: Path) -> None:
    (path / "store.json").unlink()


def _torn_snapshot(path: Path) -> None:
    data = (path / "snapshot.json").read_bytes()
    (path / "snapshot.json").write_bytes(data[: len(data) // 2])


def _lost_parquet(path: Path) -> None:
    next((path / "tables" / "samples").rglob("*.parquet")).unlink()


def _cut_parquet(path: Path) -> None:
    file = next((path / "tables" / "spans").rglob("*.parquet"))
    os.truncate(file, file.stat().st_size - 9)


def _lost_log(path: Path) -> None:
    shutil.rmtree(path / "tables" / "steps" / "_delta_log")


def _other_journal(path: Path) -> None:
    content = json.loads((path / "store.json").read_text())
    (path / "store.json").write_text(json.dumps({**content, "journal": "0" * 32}))


@pytest.mark.parametrize("harm", [_no_identity, _torn_snapshot, _lost_parquet, _cut_parquet, _lost_log, _other_journal])
def test_a_half_written_store_is_refused_in_one_line(copied: Path, capsys: pytest.CaptureFixture[str], harm: object) -> None:
    harm(copied)  # type: ignore[operator]
    assert str(copied) in unreadable(copied, capsys)


def test_frames_without_tables_are_half_a_store_until_they_are_recovered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    intake = Intake.open(tmp_path / "live")
    for seq in range(1, 8):
        intake.put(*body_of(seq))
    intake.sync()
    crashed = Path(shutil.copytree(tmp_path / "live", tmp_path / "crashed"))
    intake.drain()
    later = Path(shutil.copytree(tmp_path / "live", tmp_path / "later"))
    intake.close()
    assert "7 journal frames" in unreadable(crashed, capsys)
    assert store_command.main(["recover", str(crashed)]) == 0
    assert "spans" in capsys.readouterr().out
    for path in (crashed, later):
        with Store.open(path) as store:
            assert rows_of(store) == expected_rows(7)


def test_only_one_process_owns_a_store(tmp_path: Path) -> None:
    intake = Intake.open(tmp_path / "store")
    with pytest.raises(StoreBusy, match=rf"owned by process {os.getpid()};") as busy:
        Intake.open(tmp_path / "store")
    assert busy.value.exit_code == 3
    intake.close()
    intake.close()
    Intake.open(tmp_path / "store").close()


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="holds other files"):
        Intake.open(tmp_path)
    with pytest.raises(BadInput, match="is a file"):
        Intake.open(tmp_path / "notes.txt")
    with pytest.raises(BadInput, match="nothing to recover"):
        recover(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


class SmallDisk:
    """Stands for os.write on a disk with ``room`` bytes left: takes what fits, then none."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, descriptor: int, data: memoryview) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = os.write(descriptor, data[: self.room])
        self.room -= taken
        return taken


def put_until_it_fails(intake: Intake, body: Callable[[int], tuple[Signal, bytes]], drain_every: int) -> None:
    """Put and sync one body after the other; each sync that returns must be reflected in ``synced_seq``."""
    for seq in range(1, 100_000):
        assert intake.synced_seq == seq - 1
        intake.put(*body(seq))
        intake.sync()
        if seq % drain_every == 0:
            intake.drain()


@pytest.mark.parametrize("room", [0, 30, 500, 2_000, 5_000])
def test_a_full_disk_costs_what_was_not_acknowledged_and_nothing_else(tmp_path: Path, room: int) -> None:
    disk = SmallDisk(room)
    intake = Intake.open(tmp_path / "store", rotate_bytes=1_500, write=disk)
    with pytest.raises(StorageFull, match="disk takes no more bytes") as full:
        put_until_it_fails(intake, body_of, drain_every=1_000)
    assert full.value.exit_code == 3
    acknowledged = intake.synced_seq
    intake.drain()
    with Store.open(tmp_path / "store") if acknowledged else Store.open(_closed(intake)) as store:
        assert rows_of(store) == expected_rows(acknowledged)
    disk.room = 1 << 30
    if acknowledged:
        for seq in range(acknowledged + 1, acknowledged + 10):
            intake.put(*body_of(seq))
        intake.close()
        with Store.open(tmp_path / "store") as store:
            assert rows_of(store) == expected_rows(acknowledged + 9)
            assert not [warning for warning in store.warnings if "journal" in warning]


def _closed(intake: Intake) -> Path:
    intake.close()
    return intake.path


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)],
                                    capture_output=True, text=True, check=False)
    if not done or done.returncode:
        pytest.skip(f"cannot mount a small tmpfs: {done.stderr.strip() if done else 'no mount command'}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_really_full_disk(tiny_disk: Path) -> None:
    """The journal and the tables share the disk: whichever runs out first, what was acknowledged is there afterwards."""
    path = tiny_disk / "store"
    intake = Intake.open(path)
    with pytest.raises(StorageFull, match="disk takes no more bytes"):
        put_until_it_fails(intake, lambda seq: ("logs", log_body(START + seq, os.urandom(2_000).hex())), drain_every=50)
    acknowledged = intake.synced_seq
    assert acknowledged > 100
    try:
        intake.close()
    except FlashoverError as error:
        assert isinstance(error, StorageFull)
    with Store.open(path) as store:
        seen = store.query("SELECT frame FROM logs").column("frame").to_pylist()
    assert sorted(seen) == list(range(1, len(seen) + 1)) and len(seen) >= 50
    subprocess.run(["mount", "-o", "remount,size=64m", str(tiny_disk)], check=True)
    recover(path)
    with Store.open(path) as store:
        assert sorted(store.query("SELECT frame FROM logs").column("frame").to_pylist()) == list(range(1, acknowledged + 1))


def test_a_torn_commit_is_synced_before_frames_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal gives frames up only after the snapshot that holds them is on disk, and that names only what is."""
    order: list[str] = []
    drop, replace = Journal.drop_through, Path.replace

    def dropping(self: Journal, seq: int) -> None:
        order.append("drop")
        drop(self, seq)

    def replacing(self: Path, target: Path) -> Path:
        order.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Journal, "drop_through", dropping)
    monkeypatch.setattr(Path, "replace", replacing)
    intake = Intake.open(tmp_path / "store")
    intake.put(*body_of(1))
    intake.sync()
    intake.drain()
    entries = order[1:-2]
    assert entries and all(name.removesuffix(".json").isdigit() for name in entries)
    assert order == ["store.json", *entries, "snapshot.json", "drop"]
    intake.close()
