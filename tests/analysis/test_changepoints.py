"""Change points: levels that change are found where they change, and waves, walks and constants have none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.changepoints import change_points


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(30, 80), min_size=2, max_size=2), st.integers(0, 50), st.floats(1e-3, 1e3))
def test_a_step_is_found_where_it_is_whatever_the_unit(lengths: list[int], seed: int, unit: float) -> None:
    levels = np.repeat([6.0 * i for i in range(len(lengths))], lengths)
    values = unit * (levels + np.random.default_rng(seed).normal(0, 1, len(levels)))
    found = change_points(values)
    edges = np.cumsum(lengths)[:-1].tolist()
    assert len(found) == len(edges)
    assert all(abs(one - edge) <= 3 for one, edge in zip(found, edges, strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_noise_has_none(seed: int) -> None:
    assert change_points(np.random.default_rng(seed).normal(0, 1, 300)) == []


def test_a_slow_wave_costs_more_than_white_noise() -> None:
    random = np.random.default_rng(1)
    wave = np.sin(np.arange(300) / 6) + random.normal(0, 0.3, 300)
    assert len(change_points(wave)) <= 2


@pytest.mark.parametrize("values", [[], [1.0] * 5, [3.0] * 100, [math.nan] * 50, [1.0, math.nan]])
def test_what_says_nothing_has_none(values: list[float]) -> None:
    assert change_points(values) == []


def test_gaps_are_bridged() -> None:
    values = np.array([0.0] * 50 + [10.0] * 50)
    values[20:25] = math.nan
    assert change_points(values) == [50]
