"""A retry is known for ten minutes, across journal files that go and processes that die; then it is a new body."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.clock import ManualClock
from collectors.recent_bodies import FOLDER, KEEP_NS, RecentBodies, digest_of, keep_digests

START = 1_770_000_000_000_000_000
SECOND = 1_000_000_000


def digest(number: int) -> bytes:
    return digest_of("logs", b"%d" % number)


def test_one_body_of_two_signals_is_two_bodies() -> None:
    assert digest_of("logs", b"x") != digest_of("traces", b"x")
    assert digest_of("logs", b"x") == digest_of("logs", b"x")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400)), max_size=30))
@settings(max_examples=60)
def test_a_body_is_known_for_ten_minutes_after_it_came(steps: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        clock = ManualClock(START)
        recent, came = RecentBodies(Path(name), [], clock, clock), dict[int, int]()
        for number, wait in steps:
            known = number in came and clock.now_ns() - came[number] <= KEEP_NS
            assert (digest(number) in recent) == known
            if not known:
                recent.add([digest(number)])
                came[number] = clock.now_ns()
            clock.advance(wait * SECOND)


def test_digests_survive_the_journal_file_that_goes(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    old, young = (START - KEEP_NS - 1, digest(1)), (START - KEEP_NS // 2, digest(2))
    keep_digests(folder / "00000000000000000001.wal", [old, young], START)
    clock = ManualClock(START)
    recent = RecentBodies(tmp_path, [(START, digest(3))], clock, clock)
    assert digest(1) not in recent and digest(2) in recent and digest(3) in recent
    clock.advance(KEEP_NS // 2 + 1)
    assert digest(2) not in recent and digest(3) in recent


def test_files_of_old_digests_are_removed_and_a_damaged_one_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    keep_digests(folder / "00000000000000000001.wal", [(START, digest(1))], START)
    (seen,) = folder.glob("*.seen")
    whole = seen.read_bytes()
    for broken in (b"", whole[:3], whole[:-1], bytes([whole[0] ^ 1]) + whole[1:]):
        seen.write_bytes(broken)
        assert len(RecentBodies(tmp_path, [], ManualClock(START), ManualClock())) == 0
    seen.write_bytes(whole)
    keep_digests(folder / "00000000000000000009.wal", [], START + 2 * KEEP_NS)
    assert list(folder.glob("*.seen")) == []


@given(st.integers(-10**6, 500), st.integers(0, 500))
@settings(max_examples=60)
def test_a_wall_clock_that_jumps_forgets_nothing_early(jump: int, after: int) -> None:
    """While the process lives its age is what has passed; a restart after a jump back takes what came 'later' as new."""
    with tempfile.TemporaryDirectory() as name:
        wall, monotonic = ManualClock(START), ManualClock(5)
        recent = RecentBodies(Path(name), [], wall, monotonic)
        recent.add([digest(1)])
        wall.at_ns += jump * SECOND
        monotonic.advance(after * SECOND)
        assert digest(1) in recent
        again = RecentBodies(Path(name), [(START, digest(1))], wall, monotonic)
        assert digest(1) in again
