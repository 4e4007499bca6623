"""Onsets: a step of known time lies in its interval, noise without a change has none, and units do not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from analysis.board import Bins, Series
from analysis.noise import effect_of, learn
from analysis.onsets import CERTAIN, DIRECTIONS, MATTERS, Healthy, choose_healthy, detect, quiet_time
from analysis.signal_catalogue import SIGNALS

S = 1_000_000_000
BINS = Bins(7 * S, 7 * S + 240 * 5 * S, 5 * S)
HEALTHY = Healthy(0, 100, 2.0, 0, before=True)
RATIO, SHARE, SECONDS = (SIGNALS[name] for name in ("gateway.wait", "replica.hit", "kv_index.lag"))
Floats = NDArray[np.float64]


def autocorrelated(r: float, seed: int, count: int = 240) -> Floats:
    """AR(1) noise of unit variance [count]."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 1, count)
    for i in range(1, count):
        noise[i] = r * noise[i - 1] + math.sqrt(1 - r * r) * noise[i]
    return noise


def series_of(signal_units: Floats, signal: str = "gateway.wait", level: float = 3.0) -> Series:
    """A series whose effect against ``level`` is ``signal_units``, material units per bin."""
    kind = SIGNALS[signal]
    if kind.scale == "ratio":
        values = level * kind.material**signal_units
    else:
        values = level + kind.material * signal_units * (HEALTHY.wait_s if kind.scale == "seconds" else 1.0)
    return Series("gateway:a", kind, values * 10.0, np.full(len(values), 10.0))


@pytest.mark.parametrize("signal", ["gateway.wait", "replica.hit", "kv_index.lag"])
@pytest.mark.parametrize("r", [0.0, 0.4, 0.85])
@pytest.mark.parametrize("healthy", [100, 40])
def test_noise_without_a_change_has_no_onset(signal: str, r: float, healthy: int) -> None:
    quiet = Healthy(0, healthy, 2.0, 0, before=True)
    runs = [(series_of(0.7 * autocorrelated(r, seed), signal), direction) for seed in range(60) for direction in DIRECTIONS]
    false = sum(detect(series, direction, BINS, quiet, 140, CERTAIN) is not None for series, direction in runs)
    assert false <= 0.05 * len(runs)


@settings(derandomize=True)
@given(st.integers(105, 200), st.floats(0, 0.99), st.floats(2.5, 8), st.sampled_from(DIRECTIONS), st.floats(0.02, 0.25),
       st.integers(0, 50), st.sampled_from(["gateway.wait", "replica.hit", "kv_index.lag"]))
def test_a_step_lies_within_its_onset_interval(
    at: int, inside: float, size: float, direction: str, noise: float, seed: int, signal: str
) -> None:
    """The step comes when the share ``inside`` of bin ``at`` is over."""
    units = noise * autocorrelated(0.2, seed)
    units += (size if direction == "up" else -size) * np.clip(np.arange(240) - at + 1 - inside, 0, 1)
    found = detect(series_of(units, signal), direction, BINS, HEALTHY, 230)
    assert found is not None
    assert found.onset.low <= BINS.at(at) + inside * BINS.width_ns <= found.onset.high
    assert found.onset.high - found.onset.low <= 130 * S
    assert found.effect == pytest.approx(size, rel=0.3, abs=0.7 + noise)
    other = "down" if direction == "up" else "up"
    assert detect(series_of(units, signal), other, BINS, HEALTHY, 230, CERTAIN) is None


def test_a_loud_step_has_an_onset_of_a_few_bins() -> None:
    units = 0.1 * autocorrelated(0.0, 1)
    units[150:] += 5
    found = detect(series_of(units), "up", BINS, HEALTHY, 230)
    assert found is not None and found.onset.high - found.onset.low <= 4 * BINS.width_ns


@settings(derandomize=True)
@given(st.floats(1e-6, 1e6), st.integers(0, 30))
def test_the_scale_of_a_ratio_does_not_matter(factor: float, seed: int) -> None:
    units = 0.2 * autocorrelated(0.3, seed)
    units[140:] += 3
    one, other = series_of(units), series_of(units, level=3.0 * factor)
    first, second = detect(one, "up", BINS, HEALTHY, 200), detect(other, "up", BINS, HEALTHY, 200)
    assert first is not None and second is not None
    assert (first.onset, first.first) == (second.onset, second.first)
    assert first.effect == pytest.approx(second.effect)
    assert second.value == pytest.approx(first.value * factor)


@settings(derandomize=True)
@given(st.integers(101, 190), st.integers(0, 10))
def test_what_comes_later_is_not_looked_at(until: int, seed: int) -> None:
    units = 0.3 * autocorrelated(0.2, seed)
    units[until:] += 6
    assert detect(series_of(units), "up", BINS, HEALTHY, until, CERTAIN) is None


def test_a_blip_that_passes_does_not_hide_the_change_after_it() -> None:
    units = 0.1 * autocorrelated(0.0, 3)
    units[110] += 4
    units[160:] += 4
    found = detect(series_of(units), "up", BINS, HEALTHY, 200)
    assert found is not None and found.onset.low <= BINS.at(160) <= found.onset.high


def test_healthy_time_that_resembles_itself_knows_less() -> None:
    short = Healthy(0, 20, 2.0, 0, before=True)
    wave = np.concatenate([np.sin(np.arange(20) / 20 * 2 * math.pi), np.full(220, 6.0)])
    shaken = np.concatenate([np.random.default_rng(1).permutation(wave[:20]), wave[20:]])
    found = [learn(series_of(units, "replica.hit"), 0, 20, short.wait_s) for units in (shaken, wave)]
    assert found[0] is not None and found[1] is not None
    assert found[1].memory > found[0].memory + 0.2
    sure = [noise.deviations(np.array([80.0]), np.array([10.0]), 4)[0] for noise in found if noise is not None]
    assert 0 < sure[1] < sure[0]


def test_one_bin_alone_is_no_change() -> None:
    units = np.zeros(240)
    units[150] = 2.0
    assert all(detect(series_of(units), "up", BINS, HEALTHY, until) is None for until in (151, 152, 160, 240))


def test_healthy_time_may_come_after() -> None:
    units = np.where(np.arange(240) < 90, 4.0, 0.0)
    later = Healthy(120, 240, 2.0, 10, before=False)
    found = detect(series_of(units), "up", BINS, later, 60)
    assert found is not None and found.onset.low <= BINS.at(10) and found.first == 10 and found.last <= 60
    assert detect(series_of(np.where(np.arange(240) < 60, 0.0, units)), "up", BINS, later, 60) is None


def test_a_change_too_small_to_matter_is_none_however_clear() -> None:
    units = 1e-3 * autocorrelated(0.0, 4)
    units[150:] += MATTERS - 0.1
    assert detect(series_of(units), "up", BINS, HEALTHY, 200) is None


def test_a_huge_change_of_a_very_noisy_signal_is_seen() -> None:
    units = 4.0 * np.abs(autocorrelated(0.5, 5))
    units[150:] += 300
    found = detect(series_of(units, "kv_index.lag"), "up", BINS, HEALTHY, 200)
    assert found is not None and BINS.at(145) <= found.onset.high <= BINS.at(165)


def test_bins_without_measurements_are_neither_healthy_nor_deviating() -> None:
    series = series_of(np.where(np.arange(240) < 150, 0.0, 5.0))
    series.den[150:] = 0.0
    series.num[150:] = 0.0
    assert detect(series, "up", BINS, HEALTHY, 200) is None
    assert detect(series, "down", BINS, HEALTHY, 200) is None


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.sampled_from([SHARE, SECONDS]))
def test_an_effect_changes_its_sign_with_its_direction(value: float, baseline: float, signal: object) -> None:
    up, down = (effect_of(signal, value, baseline, 2.0, direction) for direction in DIRECTIONS)
    assert up == -down


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_effects_of_ratios_add_up(one: float, two: float, three: float) -> None:
    assume(max(one, two, three) / min(one, two, three) < 900)
    steps = effect_of(RATIO, two, one, 1.0, "up") + effect_of(RATIO, three, two, 1.0, "up")
    assert steps == pytest.approx(effect_of(RATIO, three, one, 1.0, "up"), abs=1e-9)


def test_an_effect_of_nothing_is_unknown() -> None:
    assert math.isnan(effect_of(SHARE, math.nan, 1.0, 1.0, "up")) and math.isnan(effect_of(RATIO, 1.0, math.nan, 1.0, "up"))


@pytest.mark.parametrize(("stretches", "expected"), [
    ([(100, 150)], (0, 100, True)),
    ([(2, 5), (100, 150)], (17, 100, True)),  # a minute after the small one ends
    ([(60, 70), (140, 190)], (0, 60, True)),  # the longer of two
    ([(0, 100)], (112, 240, False)),
    ([(5, 235)], None),
])  # fmt: skip
def test_quiet_time_is_the_longest_before_the_worst_or_else_after_it(
    stretches: list[tuple[int, int]], expected: tuple[int, int, bool] | None
) -> None:
    quiet = quiet_time(stretches, max(stretches, key=lambda one: one[1] - one[0]), BINS)
    assert (quiet and (quiet.first, quiet.last, quiet.before)) == expected


@settings(derandomize=True)
@given(st.integers(60, 110), st.integers(0, 20))
def test_healthy_time_ends_before_the_first_deviation(at: int, seed: int) -> None:
    units = 0.1 * autocorrelated(0.0, seed)
    units[at:] += 4
    quiet = quiet_time([(120, 150)], (120, 150), BINS)
    assert quiet is not None
    healthy = choose_healthy({"gateway.wait": {"gateway:a": series_of(units)}}, BINS, quiet)
    assert 36 <= healthy.last <= max(40, at)
    assert healthy.wait_s == pytest.approx(3.0, rel=0.1)
