"""Seasons: what repeats is taken out and nothing else is, and over a week only what is unusual for its hour is a cause."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_tables import START_NS, MemoryTables

from analysis.board import Bins, Series
from analysis.investigate import investigate, study
from analysis.investigation import Investigation
from analysis.seasons import without_season
from analysis.signal_catalogue import SIGNALS

DAY = 288
"""Bins of five minutes."""
BINS = Bins(0, 5 * DAY * 300_000_000_000, 300_000_000_000)
QUIET = 4 * DAY


def series_of(values: np.ndarray, signal: str = "demand.fresh") -> Series:
    return Series("cohort:chat", SIGNALS[signal], values * 300.0, np.full(len(values), 300.0))


def noise(seed: int, memory: float = 0.0) -> np.ndarray:
    luck = np.random.default_rng(seed)
    values = luck.normal(size=BINS.count)
    for i in range(1, BINS.count):
        values[i] += memory * values[i - 1]
    return values * np.sqrt(1 - memory**2)


def waves(size: float, phase: float) -> np.ndarray:
    return size * np.sin(2 * np.pi * (np.arange(BINS.count) / DAY + phase))


@given(st.integers(0, 10_000), st.floats(0.3, 0.9), st.floats(0, 1))
def test_a_daily_wave_leaves_what_is_under_it(seed: int, size: float, phase: float) -> None:
    flat = 10.0 + 0.3 * noise(seed)
    times, added = flat * (1 + waves(size, phase)), flat + waves(10 * size, phase)
    for signal, waved in (("demand.fresh", times), ("replica.kv_used", added)):
        told = without_season(series_of(waved, signal), BINS, 0, QUIET)
        assert told.period_ns == 86_400_000_000_000
        left = told.num / told.den
        assert np.abs(left / flat - 1.0).max() < 0.15
        assert left[QUIET:].std() < 0.06 * waved[QUIET:].std() / 0.2


@pytest.mark.parametrize("memory", [0.0, 0.8, 0.95])
def test_noise_has_no_season_however_much_it_remembers(memory: float) -> None:
    told = [without_season(series_of(10.0 + noise(seed, memory)), BINS, 0, QUIET).period_ns for seed in range(100)]
    assert sum(period > 0 for period in told) <= 1


def test_less_than_two_days_are_left_as_they_are() -> None:
    series = series_of(10.0 + waves(5.0, 0.0))
    assert without_season(series, BINS, 0, 2 * DAY - 1) is series
    assert without_season(series_of(np.full(BINS.count, 3.0)), BINS, 0, QUIET).period_ns == 0


def week(bad_from: int = -1, *, more: float = 1.0, failing: str = "false", slow: str = "1") -> MemoryTables:
    """A week, a row a request: 2 to 24 a minute, most at noon and fewest at midnight. From minute ``bad_from`` on, for
    half an hour, ``more`` times as many; those fail that are ``failing``, and their steps take ``slow`` times as long."""
    tables = MemoryTables({})
    bad = f"(m BETWEEN {bad_from} AND {bad_from + 30})"
    tables.connection.execute(f"""
        CREATE TABLE asked AS
        SELECT m, n, {START_NS} + m * 60000000000 + n * 900000000 AS ts, m * 64 + n AS i, {bad} AS bad,
            {bad} AND m > {bad_from + 2} AND {failing} AS failed
        FROM range({7 * 1440}) minutes(m), range(64) numbers(n)
        WHERE n < (12 + 10 * sin(2 * pi() * (m - 360) / 1440) + (m * 7919) % 3) * CASE WHEN {bad} THEN {more} ELSE 1 END
    """)
    tables.connection.execute("""
        INSERT INTO requests BY NAME
        SELECT ts AS arrival_ns, ts + CASE WHEN failed THEN 25000000000 ELSE 3000000000 END AS end_ns, 1 AS trace_hi,
            i AS trace_lo, i AS span_id, 'gateway:g' AS gateway, 'replica:r' || (n % 4) AS replica, 1 AS attempt,
            'chat' AS cohort, i AS user_hash, CASE WHEN failed THEN 'timeout' ELSE 'ok' END AS outcome,
            500 + (i * 7919) % 900 AS prompt_tokens, 90 + (i * 31) % 20 AS output_tokens,
            CASE WHEN failed THEN NULL ELSE 400000000 + (i * 31) % 200000000 END AS ttft_ns,
            CASE WHEN failed THEN 25000000000 ELSE 3000000000 END AS e2e_ns, 300000000 AS busy_ns, 0 AS wasted_ns
        FROM asked""")
    tables.connection.execute(f"""
        INSERT INTO steps BY NAME
        SELECT 'replica:r' || (n % 4) AS replica, i AS step_id, ts AS start_ns,
            CASE WHEN bad THEN {slow} ELSE 1 END * (20000000 + 4000 * ((i * 7919) % 2000)) AS duration_ns,
            (i * 7919) % 2000 AS prefill_tokens, 30 AS decode_tokens, 20 AS running, 1 AS waiting, 500 AS kv_used_blocks,
            1000 AS kv_total_blocks, 0 AS kv_evicted_blocks, 0 AS recomputed_tokens
        FROM asked""")
    return tables


def best(found: Investigation) -> tuple[str, str]:
    return found.triggers[0].entity, found.triggers[0].mechanism


def test_a_week_of_days_is_no_incident() -> None:
    assert investigate(week()).impact.phases == ()


def test_a_replica_that_fails_in_the_morning_is_not_the_morning() -> None:
    morning = 6 * 1440 + 9 * 60
    found = investigate(week(morning, failing="n % 4 = 3", slow="CASE WHEN n % 4 = 3 THEN 10 ELSE 1 END"))
    assert best(found) == ("replica:r3", "slow_replica") and not found.abstained
    assert abs(found.triggers[0].onset.low - START_NS - morning * 60_000_000_000) < 300_000_000_000


def test_a_crowd_at_four_in_the_morning_is_one_though_noon_sees_more() -> None:
    night = 6 * 1440 + 4 * 60
    looked = study(week(night, more=2.2, failing="n % 5 > 0"))
    assert best(looked.answer) == ("cohort:chat", "external_load") and not looked.answer.abstained
    claims = [one for one in looked.answer.triggers[0].evidence if "first attempts" in one.claim]
    assert claims and claims[0].value is not None and claims[0].baseline is not None
    assert claims[0].value / claims[0].baseline == pytest.approx(2.2, rel=0.1)  # the same hour of the days before
