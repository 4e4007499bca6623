"""What a healthy step costs is recovered from sums of steps, and a slow replica does not sway it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_tables import START_NS, MemoryTables

from analysis.board import Bins, load_board
from analysis.step_cost import StepCost, fit_step_cost

S = 1_000_000_000
COLUMNS = "replica start_ns duration_ns prefill_tokens decode_tokens".split()
BINS = Bins(START_NS, START_NS + 300 * S, 10 * S)


def fleet(cost: StepCost, *, replicas: int = 4, slow: float = 1.0, noise: float = 0.02, seed: int = 0) -> MemoryTables:
    """Some 30 steps a bin with mixed work; replica 0 takes ``slow`` times as long, and prefills more."""
    random = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for replica in range(replicas):
        for at in np.sort(random.uniform(0, 299, 900)):
            often = 1.0 if replica == 0 and slow > 1 else 0.7
            prefill = int(random.integers(1, 3000)) if random.random() < often else 0
            decode = int(random.integers(1, 200)) if random.random() < 0.8 or prefill == 0 else 0
            took = cost.per_step + cost.per_prefill * prefill + cost.per_decode * decode
            took += cost.per_decode_step if decode else 0.0
            took *= (slow if replica == 0 else 1.0) * random.lognormal(0, noise)
            values = (f"replica:{replica}", START_NS + int(at * S), int(took), prefill, decode)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    return MemoryTables({"steps": columns})


def ratios(tables: MemoryTables) -> dict[str, float]:
    """Step cost over the fit, per replica."""
    cost = fit_step_cost(tables, BINS, 0, BINS.count)
    assert cost is not None
    board = load_board(tables, BINS, cost.parameters())
    return {name: series.mean(0, BINS.count) for name, series in board["replica.step_cost"].items()}


@settings(max_examples=8)
@given(st.floats(1e5, 1e7), st.floats(1e3, 1e5), st.floats(1e6, 1e8), st.floats(1e3, 1e6), st.integers(0, 9))
def test_healthy_steps_cost_once_what_they_should(
    per_step: float, per_prefill: float, per_decode_step: float, per_decode: float, seed: int
) -> None:
    true = StepCost(per_step, per_prefill, per_decode_step, per_decode)
    tables = fleet(true, seed=seed)
    assert all(ratio == pytest.approx(1.0, abs=0.03) for ratio in ratios(tables).values())
    fitted = fit_step_cost(tables, BINS, 0, BINS.count)
    assert fitted is not None and min(fitted.parameters().values()) >= 0
    assert fitted.per_prefill == pytest.approx(per_prefill, rel=0.2, abs=0.03 * per_decode_step / 1500)


@pytest.mark.parametrize(("replicas", "slow"), [(4, 5.0), (5, 2.0), (8, 1.5)])
def test_a_slow_replica_is_outvoted(replicas: int, slow: float) -> None:
    tables = fleet(StepCost(2e6, 6e4, 7e7, 1e4), replicas=replicas, slow=slow)
    cost = fit_step_cost(tables, BINS, 0, BINS.count)
    assert cost is not None
    assert cost.per_prefill == pytest.approx(6e4, rel=0.1) and cost.per_decode_step == pytest.approx(7e7, rel=0.2)
    found = ratios(tables)
    assert found.pop("replica:0") == pytest.approx(slow, rel=0.1)
    assert all(ratio == pytest.approx(1.0, abs=0.1) for ratio in found.values())


@pytest.mark.parametrize("seed", range(6))
def test_no_work_has_a_negative_cost(seed: int) -> None:
    cost = fit_step_cost(fleet(StepCost(0.0, 6e4, 7e7, 0.0), noise=0.4, seed=seed), BINS, 0, BINS.count)
    assert cost is not None and min(cost.parameters().values()) >= 0


def test_too_few_steps_have_no_cost() -> None:
    tables = fleet(StepCost(2e6, 6e4, 7e7, 1e4))
    assert fit_step_cost(tables, BINS, 0, 1) is None
    assert fit_step_cost(MemoryTables({}), BINS, 0, BINS.count) is None


def test_only_the_bins_asked_for_are_fitted() -> None:
    tables = fleet(StepCost(2e6, 6e4, 7e7, 1e4)).change(
        f"UPDATE steps SET duration_ns = duration_ns * 3 WHERE start_ns >= {BINS.at(15)}"
    )
    cost = fit_step_cost(tables, BINS, 0, 15)
    assert cost is not None
    board = load_board(tables, BINS, cost.parameters())["replica.step_cost"]
    assert all(series.mean(0, 15) == pytest.approx(1.0, abs=0.05) for series in board.values())
    assert all(series.mean(15, 30) == pytest.approx(3.0, abs=0.15) for series in board.values())
