"""Weeks of outages: marks joined, relapses counted against chance, hours against an even day; bad marks refused."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.history import JOIN_S, Mark, outages, patterns, read_marks
from collectors.errors import BadInput

DAY = 86_400.0
MARKS = st.lists(st.tuples(st.floats(0, 100 * DAY), st.floats(0, DAY)), min_size=1, max_size=30)


@given(MARKS)
def test_joined_marks_cover_what_the_marks_cover_and_lie_apart(marks: list[tuple[float, float]]) -> None:
    given_ = [Mark(start, start + length) for start, length in marks]
    joined = outages(given_)
    for mark in given_:
        assert any(one.start_s <= mark.start_s and mark.end_s <= one.end_s for one in joined)
    assert all(later.start_s - earlier.end_s > JOIN_S for earlier, later in pairwise(joined))
    assert outages(joined) == joined and outages(reversed(given_)) == joined


def test_outages_that_bring_the_next_are_told_from_chance() -> None:
    source = random.Random(3)
    alone = [Mark(at, at + 600) for at in sorted(source.uniform(0, 700 * DAY) for _ in range(60))]
    twice = [one for mark in alone[:30] for one in (mark, Mark(mark.end_s + 7200, mark.end_s + 7800))]
    by_chance, clustered = (patterns(marks)["relapse"] for marks in (alone, twice))
    assert by_chance["ratio_interval"][0] <= 1 <= by_chance["ratio_interval"][1]
    assert clustered["seen"] >= 30 and clustered["ratio_interval"][0] > 2


def test_hours_of_a_place_cluster_where_they_do() -> None:
    marks = [Mark(day * DAY + 7 * 3600, day * DAY + 7 * 3600 + 900) for day in range(0, 60, 3)]
    found = patterns(marks, 8.0)["hours"]
    assert found["begun"][15] == 20 and found["concentration"] > 0.99 and found["chance"] < 1e-3
    even = [Mark(day * DAY + (day % 24) * 3600, day * DAY + (day % 24) * 3600 + 60) for day in range(48)]
    assert patterns(even)["hours"]["chance"] > 0.5


def test_a_change_of_rate_is_dated() -> None:
    begins = [week * 7 * DAY + day * DAY for week in range(40) for day in range(6 if week >= 20 else 1)]
    marks = [Mark(begin, begin + 60) for begin in begins]
    changes = patterns(marks)["changes"]
    assert [one["outages_a_week"] for one in changes] == [1.0, 6.0] and changes[1]["from"].startswith("1970-05-21")


@pytest.mark.parametrize(("text", "said"), [
    ("a,b\n1,2\n", "start_epoch"), ("start_epoch,end_epoch\n", "at least one line"),
    ("start_epoch,end_epoch\n1,x\n", "line 2"), ("start_epoch,end_epoch\n9,3\n", "exchange them"),
])  # fmt: skip
def test_bad_marks_are_refused_with_line_and_fix(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "marks.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=said):
        read_marks(path)


def test_maintenance_is_no_outage(tmp_path: Path) -> None:
    path = tmp_path / "marks.csv"
    path.write_text("start_epoch,end_epoch,component,official_status\n0,60,chat,maintenance\n9000,9060,chat,degraded\n")
    assert read_marks(path) == [Mark(9000.0, 9060.0, "chat", "degraded")]
    with pytest.raises(BadInput, match="no outage"):
        patterns([])
