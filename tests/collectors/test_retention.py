"""Which hours retention removes: never the newest, none because of a clock, the oldest first, and no more than it must."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collectors.tables.hours import HOUR_NS, hour_name
from collectors.tables.retention import Keep, hours_to_remove

HOURS = st.dictionaries(st.integers(0, 40), st.integers(1, 1000), min_size=1, max_size=12)


@given(HOURS, st.integers(0, 500), st.integers(-5, 60), st.integers(0, 12), st.integers(0, 4000))
def test_the_oldest_hours_go_and_only_as_long_as_they_must(
    sizes: dict[int, int], others: int, now: int, keep_hours: int, keep_bytes: int
) -> None:
    named = {hour_name(number): size for number, size in sizes.items()}
    removed = hours_to_remove(named, others, now * HOUR_NS, Keep(keep_hours, keep_bytes))
    past = sorted(number for number in sizes if number <= now + 1)
    assert removed == [hour_name(number) for number in past[: len(removed)]]
    assert len(removed) < max(len(past), 1)
    left = others + sum(size for hour, size in named.items() if hour not in removed)
    for at, number in enumerate(past[:-1]):
        too_old = keep_hours > 0 and number <= past[-1] - keep_hours
        if at < len(removed):
            after = others + sum(size for hour, size in named.items() if hour not in removed[:at])
            assert too_old or (keep_bytes > 0 and after > keep_bytes)
        else:
            assert not too_old
            break
    assert not keep_bytes or left <= keep_bytes or len(removed) == max(len(past) - 1, 0)


@given(HOURS, st.integers(1, 12))
def test_a_clock_that_leaps_forward_removes_nothing_more(sizes: dict[int, int], keep_hours: int) -> None:
    named = {hour_name(number): size for number, size in sizes.items()}
    keep = Keep(hours=keep_hours)
    assert hours_to_remove(named, 0, 50 * HOUR_NS, keep) == hours_to_remove(named, 0, 10**18, keep)


def test_hours_in_the_machine_s_future_are_no_measure_and_stay() -> None:
    named = {hour_name(number): 10 for number in (1, 2, 3, 10_000)}
    assert hours_to_remove(named, 0, 3 * HOUR_NS, Keep(hours=2)) == [hour_name(1)]
    assert hours_to_remove(named, 0, -HOUR_NS * 2, Keep(hours=1)) == []
    assert hours_to_remove(named, 0, 3 * HOUR_NS, Keep()) == []
    assert hours_to_remove({}, 5, 3 * HOUR_NS, Keep(hours=1, size=1)) == []
