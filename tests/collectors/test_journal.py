"""Frames come back as they went in; a damaged journal opens to its valid prefix and says what was dropped."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otlp_bodies import START, body_of, expected_rows, log_body

from collectors.frames import FRAME_BYTES, HEADER_BYTES, file_header, scan
from collectors.intake import Intake, recover
from collectors.journal import Journal, journal_files, scan_all
from collectors.recovery import cut_damage, read_journal
from collectors.sink import SIGNALS
from collectors.store import Store

OWNER = uuid.UUID(int=7)
Damage = Callable[[bytes, random.Random], bytes]
BODIES = st.lists(st.tuples(st.sampled_from(SIGNALS), st.binary(max_size=200), st.booleans()), max_size=12)


def new_journal(folder: Path, next_seq: int = 1, **how: int) -> Journal:
    (folder / "journal").mkdir(exist_ok=True)
    return Journal(folder, OWNER, next_seq, [], **how)


@given(BODIES, st.integers(60, 600))
@settings(max_examples=60)
def test_what_was_synced_is_read_back_and_what_was_not_is_given_up(bodies: list[tuple[str, bytes, bool]], rotate: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journal = new_journal(folder, rotate_bytes=rotate)
        kept = waiting = 0
        for signal, body, syncs in bodies:
            assert journal.put(signal, body) == kept + waiting + 1  # type: ignore[arg-type]
            waiting += 1
            if syncs:
                journal.sync()
                kept, waiting = kept + waiting, 0
            assert journal.synced_seq == kept
        journal.close()
        expected = [(seq, signal, body) for seq, (signal, body, _) in enumerate(bodies[:kept], start=1)]
        assert [(place.seq, place.signal, body) for place, body in journal.read(0)] == expected
        found = scan_all(folder, OWNER)
        assert [(place.seq, place.signal) for scanned in found for place in scanned.places] == [e[:2] for e in expected]
        assert not any(scanned.damage for scanned in found)


def test_files_go_when_their_frames_are_taken_and_not_before(tmp_path: Path) -> None:
    journal = new_journal(tmp_path, rotate_bytes=300)
    for seq in range(1, 31):
        journal.put("logs", random.Random(seq).randbytes(90))
        journal.sync()
    assert len(journal_files(tmp_path)) > 5
    journal.drop_through(17)
    assert [place.seq for place, body in journal.read(0) if body] == list(range(18, 31))
    left = [place.seq for found in scan_all(tmp_path, OWNER) for place in found.places]
    assert left[0] <= 18 and left[-1] == 30 and left[0] > 10


def test_a_frame_of_another_journal_does_not_pass(tmp_path: Path) -> None:
    journal = new_journal(tmp_path)
    journal.put("logs", b"x")
    journal.sync()
    journal.close()
    (path,) = journal_files(tmp_path)
    found = scan(path, uuid.UUID(int=8))
    assert not found.places and found.damage


@pytest.mark.parametrize("where", [0, 4, 8, 16, FRAME_BYTES, -2])
def test_a_frame_that_goes_bad_after_its_sync_is_named_and_the_rest_is_kept(tmp_path: Path, where: int) -> None:
    """Its length, checksum, number, signal, or a bit of its body."""
    intake = Intake.open(tmp_path / "store")
    for at in range(5):
        intake.put("logs", log_body(START + at, f"line {at}"))
    intake.sync()
    (path,) = journal_files(tmp_path / "store")
    third = read_journal(tmp_path / "store", _owner(tmp_path / "store")).places[2]
    data = bytearray(path.read_bytes())
    data[third.offset + where % third.size] ^= 1
    path.write_bytes(data)
    intake.close()
    with Store.open(tmp_path / "store") as store:
        assert store.query("SELECT frame FROM logs ORDER BY frame").column("frame").to_pylist() == [1, 2, 4, 5]
        assert len(store.warnings) == 1 and "frame 3" in store.warnings[0]


def _owner(store: Path) -> uuid.UUID:
    return uuid.UUID(json.loads((store / "store.json").read_text())["journal"])


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose process died: four frames are in the tables, twenty lie in one journal file."""
    base = tmp_path_factory.mktemp("crashed")
    intake = Intake.open(base / "live")
    for seq in range(1, 25):
        intake.put("logs", log_body(START + seq, f"line {seq} " + "x" * (seq % 5) * 20))
        if seq in (4, 24):
            intake.sync()
        if seq == 4:
            intake.drain()
    shutil.copytree(base / "live", base / "store")
    intake.close()
    return base / "store"


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[:chance.randrange(len(data))]


def flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ chance.randrange(1, 256)]) + data[at + 1:]


def zero_tail(data: bytes, chance: random.Random) -> bytes:
    kept = chance.randrange(len(data))
    return data[:kept] + bytes(len(data) - kept + chance.choice([0, 0, 512, 4096]))


def damaged(crashed: Path, damage: Damage, turn: int) -> tuple[bytes, int, bool]:
    """The crashed store's journal file, damaged; the last frame before the damage; whether it looks as if nothing had been."""
    data = journal_files(crashed)[0].read_bytes()
    broken = damage(data, random.Random(f"{damage.__name__} {turn}"))
    same = next((at for at, (a, b) in enumerate(zip(data, broken, strict=False)) if a != b), min(len(data), len(broken)))
    ends = [HEADER_BYTES, *(place.offset + place.size for place in read_journal(crashed, _owner(crashed)).places)]
    last = max([0, *(seq for seq, end in enumerate(ends) if end <= same)])
    if same < HEADER_BYTES and len(broken) == len(data) and broken[HEADER_BYTES:] == data[HEADER_BYTES:]:
        last = len(ends) - 1  # a header that is torn alone costs nothing: frames check by themselves
    return broken, last, len(broken) == same and same in ends


@pytest.mark.parametrize("damage", [cut, flip, zero_tail])
def test_six_hundred_damaged_journals_are_read_up_to_the_damage_and_say_so(
    crashed: Path, quick_path: Path, damage: Damage
) -> None:
    """Three ways, two hundred times each: the frames before the damage with their bodies, and a sentence about the rest."""
    (wal,) = journal_files(crashed)
    owner = _owner(crashed)
    (quick_path / "journal").mkdir()
    intact = {place.seq: body for place, body in Journal(crashed, owner, 25, read_journal(crashed, owner).places).read(0)}
    assert len(intact) == 24
    for turn in range(200):
        broken, last, unseen = damaged(crashed, damage, turn)
        (quick_path / "journal" / wal.name).write_bytes(broken)
        found = read_journal(quick_path, owner)
        bodies = {place.seq: body for place, body in Journal(quick_path, owner, 25, found.places).read(0)}
        assert bodies == {seq: intact[seq] for seq in range(1, last + 1)}, turn
        assert unseen or (len(found.damage) == 1 and wal.name in found.damage[0]), turn
        cut_damage(found)
        left = [scanned for scanned in scan_all(quick_path, owner) if scanned.places]
        assert sum(len(scanned.places) for scanned in left) == last
        assert all(scanned.good_bytes == scanned.size for scanned in left)


@pytest.mark.parametrize("damage", [cut, flip, zero_tail])
def test_a_store_with_a_damaged_journal_opens_and_takes_new_frames(crashed: Path, quick_path: Path, damage: Damage) -> None:
    """A reader before recovery sees the four frames in the tables, and what is wrong; after it, all that is intact, the same
    sentence once, and every frame taken since."""
    (wal,) = journal_files(crashed)
    for turn in range(8):
        store = quick_path / f"store{turn}"
        shutil.copytree(crashed, store)
        broken, last, unseen = damaged(crashed, damage, turn)
        (store / "journal" / wal.name).write_bytes(broken)
        last = max(4, last)
        for step in ("as it lies", "recovered", "continued"):
            if step == "recovered":
                recover(store)
            elif step == "continued":
                with Intake.open(store) as intake:
                    assert intake.synced_seq == last
                    intake.put("logs", log_body(START, f"line {last + 1} "))
            with Store.open(store) as opened:
                frames = opened.query("SELECT frame, body FROM logs ORDER BY frame").to_pylist()
                said = [warning for warning in opened.warnings if wal.name in warning]
            held = {"as it lies": 4, "recovered": last, "continued": last + 1}[step]
            assert [row["frame"] for row in frames] == list(range(1, 1 + held)), (turn, step)
            assert all(row["body"].startswith(f"line {row['frame']} ") for row in frames)
            assert len(said) == (0 if unseen else 1), (turn, step)


@pytest.mark.parametrize("left", [b"", b"FLSH", None])
def test_a_crash_right_after_the_start_of_a_file_does_not_stop_the_journal(tmp_path: Path, left: bytes | None) -> None:
    """Nothing of the new file, a part of its header, or all of it, and no frame. Its name is that of the next frame."""
    with Intake.open(tmp_path / "store") as intake:
        intake.put(*body_of(1))
    header = file_header(_owner(tmp_path / "store"), 2)
    (tmp_path / "store" / "journal" / f"{2:020d}.wal").write_bytes(header if left is None else left)
    with Intake.open(tmp_path / "store") as intake:
        for seq in range(2, 10):
            intake.put(*body_of(seq))
    with Store.open(tmp_path / "store") as store:
        assert [row["frame"] for row in store.query("SELECT DISTINCT frame FROM spans ORDER BY 1").to_pylist()] == [1, 4, 7]
        assert len([warning for warning in store.warnings if "header" in warning]) == (left is not None)


def test_a_tear_in_an_older_file_costs_that_file_alone(tmp_path: Path) -> None:
    """Frames are kept by file: what was acknowledged after the damage stays."""
    intake = Intake.open(tmp_path / "live", rotate_bytes=400)
    for seq in range(1, 13):
        intake.put(*body_of(seq))
        intake.sync()
    shutil.copytree(tmp_path / "live", tmp_path / "store")
    intake.close()
    first, *others = journal_files(tmp_path / "store")
    lost = {place.seq for place in scan(first, _owner(tmp_path / "store")).places}
    first.write_bytes(b"\0" * first.stat().st_size)
    assert others and lost
    recover(tmp_path / "store")
    with Store.open(tmp_path / "store") as store:
        kept = {(row["frame"], row["span_id"]) for row in store.query("SELECT frame, span_id FROM spans").to_pylist()}
        assert kept == {row for row in expected_rows(12)["spans"] if row[0] not in lost}
        assert first.name in store.warnings[0]
