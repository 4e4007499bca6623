"""The frame that kills is found among any number, and no other is ever left out, whoever else kills workers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.service.suspects import PATIENCE, Suspects
from collectors.service.worker_pipe import Report


def live(suspects: Suspects, seq: int, frames: int, kills: Callable[[int, int, int], bool]) -> tuple[int, bool]:
    """One worker that goes on after ``seq``: how far it came, and whether it ended by taking all frames. ``kills``: whether
    something ends it in the round from one frame to another, given the frame that it skips."""
    told = dict(zip(*[iter(suspects.options(seq))] * 2, strict=True))
    skip, most, until = (int(told.get(name, 0)) for name in ("--skip", "--small-rounds", "--until"))
    while seq < frames:
        last = min(frames, seq + most) if seq < until else frames
        if kills(seq + 1, last, skip):
            suspects.died(Report(seq, "decoding", last))
            return seq, False
        seq = last
    return seq, True


@given(st.integers(1, 5000), st.integers(0, 5000))
@settings(max_examples=100)
def test_one_frame_that_kills_is_skipped_alone_after_few_deaths(frames: int, poison: int) -> None:
    suspects, seq, deaths, ended = Suspects(), 0, 0, False
    while not ended:
        seq, ended = live(suspects, seq, frames, lambda first, last, skip: first <= poison <= last and poison != skip)
        deaths += not ended
        assert deaths <= 4 * PATIENCE
    assert suspects.skip == (poison if 1 <= poison <= frames else 0)


@given(st.integers(2, 5000), st.integers(0, 2**32))
@settings(max_examples=100)
def test_killers_from_outside_cost_no_frame(frames: int, seed: int) -> None:
    """An operator, or a machine that is out of memory now and then: they do not come thrice at one frame alone."""
    chance, alone = random.Random(seed), Counter[int]()

    def kills(first: int, last: int, skip: int) -> bool:
        assert skip == 0
        if chance.random() < 0.5 and (first != last or alone[first] < PATIENCE - 1):
            alone[first] += first == last
            return True
        return False

    suspects, seq, ended = Suspects(), 0, False
    for _ in range(200):
        if not ended:
            seq, ended = live(suspects, seq, frames, kills)
    assert suspects.skip == 0


def test_a_death_while_nothing_is_decoded_makes_no_frame_suspect() -> None:
    suspects = Suspects()
    for _ in range(10):
        suspects.died(Report(5, "joined 3 files of spans"))
        suspects.died(Report(5, "starting"))
    assert suspects.skip == 0 and suspects.options(5) == []
