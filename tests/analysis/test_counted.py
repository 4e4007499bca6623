"""What users felt by gateways' counters: the same outage that requests show, also when these are a sample."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_tables import START_NS, MemoryTables

from analysis.counted import counted_bins, counted_impact, recorded_share
from analysis.investigate import investigate

S = 1_000_000_000
SCRAPES = 240


def counters(*, recorded: int = 0, seed: int = 1) -> MemoryTables:
    """A gateway that is scraped every 5 s; nothing is answered from 600 s to 900 s, and each request is then tried thrice."""
    random = np.random.default_rng(seed)
    bad = (np.arange(SCRAPES) * 5 >= 600) & (np.arange(SCRAPES) * 5 < 900)
    first = random.poisson(20, SCRAPES).astype(float)
    retries = np.where(bad, 2 * first, 0.0)
    ok, late = np.where(bad, 0.0, first), np.where(bad, 3 * first, 0.0)
    told = {("gateway.arrivals", "attempt", "first"): first, ("gateway.arrivals", "attempt", "retry"): retries,
            ("gateway.finished", "outcome", "ok"): ok, ("gateway.finished", "outcome", "timeout"): late}  # fmt: skip
    samples = [(i, START_NS + k * 5 * S, float(value)) for i, values in enumerate(told.values())
               for k, value in enumerate(np.cumsum(values))]  # fmt: skip
    requests = {"arrival_ns": [START_NS + i * 1000 * S // max(recorded, 1) for i in range(recorded)],
                "end_ns": [START_NS + i * 1000 * S // max(recorded, 1) + S for i in range(recorded)],
                "trace_lo": list(range(recorded)), "trace_hi": [1] * recorded, "attempt": [1] * recorded,
                "outcome": ["ok"] * recorded, "ttft_ns": [S // 2] * recorded}  # fmt: skip
    return MemoryTables({
        "series": {"series_id": list(range(4)), "signal": [key[0] for key in told], "entity": ["gateway:g"] * 4,
                   "labels": [[(key[1], key[2]), ("cohort", "chat")] for key in told]},
        "samples": dict(zip(("series_id", "ts_ns", "value"), zip(*samples, strict=True), strict=True)),
        "requests": requests if recorded else {},
    })  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_counters_tell_when_users_suffered_and_count_requests_not_attempts(seed: int) -> None:
    tables = counters(seed=seed)
    found = counted_impact(tables, counted_bins(START_NS, START_NS + SCRAPES * 5 * S))
    assert found is not None
    ((first, last),) = found.stretches
    assert abs(first * 15 - 600) <= 15 and abs(last * 15 - 900) <= 15
    inside, before = found.requests[first + 1 : last - 1].mean(), found.requests[4 : first - 2].mean()
    assert inside == pytest.approx(before, rel=0.15)
    assert found.good[first + 1 : last - 1].sum() == 0


def test_without_counters_there_is_nothing_to_count() -> None:
    assert counted_impact(MemoryTables({}), counted_bins(START_NS, START_NS + 600 * S)) is None
    assert recorded_share(MemoryTables({}), START_NS, START_NS + 600 * S) is None


def test_a_sample_of_requests_is_known_for_one_and_does_not_hide_the_outage() -> None:
    tables = counters(recorded=60)
    share = recorded_share(tables, START_NS, START_NS + 1200 * S)
    assert share is not None and share < 0.02
    found = investigate(tables)
    assert found.impact.phases[0].state == "outage"
    assert any("requests are a sample" in warning for warning in found.coverage.warnings)
    assert "gateways count" in found.impact.slo
