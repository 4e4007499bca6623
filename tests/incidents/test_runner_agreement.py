"""The two runners are held to each other: one scenario, the same story to the nanosecond, expert loads alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from small_fleet import made_trace, scenario

from collectors.store import Store
from incidents.replay import replay
from instrumented_engine.model.sizes import size_named

SHARE_TOLERANCE = 0.03
"""Difference allowed between the runners in an expert's share of its layer's tokens (a fair share is 1/16)."""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("agreement")
    scene = scenario(made_trace(folder / "trace.jsonl", requests=90, seconds=40), duration_s=45)
    for name in ("torch", "recorded"):
        replay(scene, folder / name, name)  # type: ignore[arg-type]
    return {name: folder / name for name in ("torch", "recorded")}


def read(path: Path, sql: str) -> pl.DataFrame:
    with Store.open(path) as store:
        return store.frame(sql)


def test_every_request_has_the_same_history(stores: dict[str, Path]) -> None:
    sql = "SELECT * FROM requests ORDER BY arrival_ns, span_id"
    torch, recorded = (read(stores[name], sql) for name in ("torch", "recorded"))
    assert torch.height > 50
    assert torch.equals(recorded)


def test_every_step_but_its_expert_load_is_the_same(stores: dict[str, Path]) -> None:
    sql = "SELECT * EXCLUDE (expert_load, frame) FROM steps ORDER BY start_ns, replica"
    assert read(stores["torch"], sql).equals(read(stores["recorded"], sql))


def test_expert_loads_have_the_same_totals_and_like_shares(stores: dict[str, Path]) -> None:
    shape = size_named("S").shape
    shares = {}
    for name, path in stores.items():
        steps = read(path, "SELECT engine_tokens, expert_load FROM steps ORDER BY start_ns, replica")
        loads = np.array(steps["expert_load"].to_list()).reshape(steps.height, shape.layers, shape.experts)
        per_layer = loads.sum(axis=2)
        assert (per_layer == shape.top_k * steps["engine_tokens"].to_numpy()[:, None]).all()
        total = loads.sum(axis=0)
        shares[name] = total / total.sum(axis=1, keepdims=True)
    assert np.abs(shares["torch"] - shares["recorded"]).max() < SHARE_TOLERANCE
