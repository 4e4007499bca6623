"""Time in UTC nanoseconds, to text and back."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import ManualClock, SystemClock, iso, parse_iso

_BEGIN = int(datetime(1971, 1, 1, tzinfo=UTC).timestamp()) * 10**9
_END = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 10**9


@given(st.integers(_BEGIN, _END))
def test_text_with_nine_digits_keeps_every_nanosecond(at_ns: int) -> None:
    assert parse_iso(iso(at_ns, digits=9)) == at_ns


@given(st.integers(_BEGIN, _END), st.integers(0, 9))
def test_fewer_digits_cut_and_never_round_up(at_ns: int, digits: int) -> None:
    unit = 10 ** (9 - digits)
    assert parse_iso(iso(at_ns, digits)) == at_ns // unit * unit


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-03-29T13:35:00", "2026-03-29T13:35:00Z"),
        ("2026-03-29T15:35:00+02:00", "2026-03-29T13:35:00Z"),
        ("2026-03-29 13:35:00.5+00:00", "2026-03-29T13:35:00.500Z"),
        ("2026-03-29T13:35:00.1234567899Z", "2026-03-29T13:35:00.123456789Z"),
        ("2026-03-29", "2026-03-29T00:00:00Z"),
    ],
)
def test_offsets_and_decimals(text: str, same: str) -> None:
    assert parse_iso(text) == parse_iso(same)
    assert same.startswith(iso(parse_iso(text), 0)[:-1])


@pytest.mark.parametrize("text", ["", "yesterday", "13:35", "2026-13-01T00:00:00Z", "1774791300"])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time like"):
        parse_iso(text)


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(5)
    assert (clock.now_ns(), clock.now_ns()) == (5, 5)
    clock.advance(7)
    assert clock.now_ns() == 12
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
    assert clock.now_ns() == 12


def test_the_system_clock_is_the_machine_s() -> None:
    before = time.time_ns()
    assert before <= SystemClock().now_ns() <= time.time_ns()
