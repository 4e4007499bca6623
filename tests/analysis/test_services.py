"""Service graphs: the service whose own trouble it is, on graphs made by hand; quiet ones blame nobody."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from simulated_tables import START_NS, MemoryTables

from analysis.investigate import investigate

S = 1_000_000_000
TIMES, FIRST = 120, 116
CALLS = {"web": ["search", "pay"], "search": ["store"], "pay": ["bank", "store"]}
NAMES = ("web", "search", "pay", "store", "bank", "idle")


def graph(slow: Mapping[str, float], fails: Mapping[str, float], *, seed: int = 1, links: tuple[str, ...] = ()) -> MemoryTables:
    """Latency, availability and requests every five minutes. ``slow``: seconds that a service takes longer by itself, and
    ``fails``: its own share of faults, both in the last samples and handed on to callers."""
    random = np.random.default_rng(seed)
    own = {name: 0.1 * random.lognormal(0, 0.05, TIMES) for name in NAMES}
    bad = {name: np.clip(random.normal(0.002, 0.001, TIMES), 0, 1) for name in NAMES}
    for name, more in slow.items():
        own[name][FIRST:118] += more
    for name, share in fails.items():
        bad[name][FIRST:118] += share
    latency, faults = {}, {}
    for name in ("store", "bank", "idle", "search", "pay", "web"):
        called = CALLS.get(name, [])
        latency[name] = own[name] + sum((latency[one] for one in called), np.zeros(TIMES))
        faults[name] = np.clip(bad[name] + sum((faults[one] for one in called), np.zeros(TIMES)), 0, 1)
    series, samples = [], []
    for name in NAMES:
        entity = f"{'link' if name in links else 'service'}:{name}"
        for signal, values in (("latency", latency[name]), ("availability", 100 * (1 - faults[name])),
                               ("requests", random.poisson(1 if name == "idle" else 900, TIMES).astype(float))):  # fmt: skip
            series.append((len(series), f"service.{signal}", entity))
            samples += [(len(series) - 1, START_NS + i * 300 * S, float(value)) for i, value in enumerate(values)]
    edges = [(f"service:{a}", f"{'link' if b in links else 'service'}:{b}") for a, callees in CALLS.items() for b in callees]
    return MemoryTables({
        "series": dict(zip(("series_id", "signal", "entity"), zip(*series, strict=True), strict=True)),
        "samples": dict(zip(("series_id", "ts_ns", "value"), zip(*samples, strict=True), strict=True)),
        "edges": {"src": [a for a, _ in edges], "dst": [b for _, b in edges], "kind": ["calls"] * len(edges),
                  "count": [1] * len(edges)},
    })  # fmt: skip


@pytest.mark.parametrize("culprit", ["web", "search", "pay", "store", "bank"])
@pytest.mark.parametrize("how", ["slow", "fails"])
@pytest.mark.parametrize("seed", range(3))
def test_the_service_whose_own_trouble_it_is_comes_first(culprit: str, how: str, seed: int) -> None:
    tables = graph({culprit: 0.5} if how == "slow" else {}, {culprit: 0.3} if how == "fails" else {}, seed=seed)
    found = investigate(tables)
    assert not found.abstained and found.impact.phases
    assert found.triggers[0].entity == f"service:{culprit}"
    assert found.triggers[0].mechanism == ("slow_service" if how == "slow" else "failing_service")
    assert found.impact.start == START_NS + FIRST * 300 * S
    assert sum(one.probability for one in found.triggers) + found.residual_probability == pytest.approx(1.0)
    for one in (*found.triggers, *found.cascade):
        for item in one.evidence:
            row = tables.query(item.sql).to_pylist()[0]
            assert (row["value"], row["baseline"]) == (pytest.approx(item.value), pytest.approx(item.baseline))
    if found.cascade:
        assert found.cascade[0].from_ == f"service:{culprit}" and found.cascade[-1].to == "service:web"


@pytest.mark.parametrize("seed", range(6))
def test_a_quiet_day_blames_nobody(seed: int) -> None:
    found = investigate(graph({}, {}, seed=seed))
    assert found.abstained and found.impact.phases == ()


def test_what_nobody_depends_on_is_no_suspect() -> None:
    found = investigate(graph({"idle": 9.0, "bank": 0.4}, {}))
    assert "service:idle" not in {one.entity for one in found.triggers}
    assert found.triggers[0].entity == "service:bank"


def test_a_link_is_no_suspect_its_caller_is() -> None:
    found = investigate(graph({"bank": 0.5}, {}, links=("bank",)))
    assert found.triggers[0].entity == "service:pay"
    assert not [one for one in found.triggers if one.entity.startswith("link:")]


def test_too_few_samples_are_judged_by_nobody() -> None:
    tables = graph({"bank": 0.5}, {}).change(f"DELETE FROM samples WHERE ts_ns > {START_NS + 9 * 300 * S}")
    assert investigate(tables).abstained
