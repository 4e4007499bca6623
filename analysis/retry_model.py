"""What retries ask of the engines: the load of first attempts alone and of all, what it would take to break the loop, and
how far from the cliff the fleet stood before.

Each attempt is charged what such attempts cost at the time, over the engine time that there was. That is no causal estimate
(regressions of load on failures are confounded) but the fleet's own book-keeping; intervals come from resampled bins. A loop
whose load is g times the capacity holds until all but 1/g of the arrivals are turned away, for as long as it takes the engines
to work off what has piled up (Bronson et al., HotOS 2021: a strong push is needed). Before the trigger the fleet was as far
from the cliff as the work it did lay below the most it was ever seen to do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from analysis import queries
from analysis.board import Floats
from analysis.investigation import Evidence, Shed
from analysis.scene import Scene, ask

DRAWS = 400
WAITING = 0.5
"""Requests waiting per request in the batch from which the fleet is saturated."""


@dataclass(frozen=True, slots=True)
class Model:
    """Engine time asked for over engine time there is in the saturated bins ``first <= i < last``, by first attempts alone
    and by all, each at what it costs then; 95 % intervals."""

    first: int
    last: int
    fresh: tuple[float, float]
    loop: tuple[float, float]


def fit_model(scene: Scene, first: int, last: int) -> Model | None:
    """None without steps, when requests did not wait, or when too few first attempts were run to know their cost."""
    if not scene.fleet("replica.waiting", first, last) > WAITING:
        return None
    sql = queries.sql("attempt_work", start_ns=scene.bins.at(first), end_ns=scene.bins.at(last), bin_ns=scene.bins.width_ns)
    frame = scene.tables.frame(sql).filter(pl.col("bin") < last - first)
    there = np.zeros(scene.bins.count)
    for series in scene.board["replica.busy"].values():
        there += series.num
    draws = np.random.default_rng(0).integers(0, max(frame.height, 1), (DRAWS, frame.height))
    total = {name: frame[name].to_numpy()[draws].sum(axis=1) for name in frame.columns if name != "bin"}
    capacity = there[first + frame["bin"].to_numpy()[draws]].sum(axis=1)
    known = (total["fresh_ran"] > 0) & (capacity > 0)
    if known.mean() < 0.95:
        return None
    fresh, loop = (
        total[kind][known] * total[f"{kind}_ns"][known] / (total[f"{kind}_ran"] * capacity)[known]
        for kind in ("fresh", "attempts")
    )
    return Model(first, last, _interval(fresh), _interval(loop))


def _interval(draws: Floats) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return round(float(low), 3), round(float(high), 3)


def load_evidence(scene: Scene, model: Model, kind: str) -> Evidence:
    """What first attempts alone, or all, ask for. Healthy time has no value for it: a batch costs each less when full."""
    span = {"start_ns": scene.bins.at(model.first), "end_ns": scene.bins.at(model.last)}
    width = span["end_ns"] - span["start_ns"]
    there = f"SELECT sum(num) FROM ({queries.sql('replica_busy', bin_ns=width, **span)}) b"
    sql = (f"SELECT sum({kind}) * sum({kind}_ns) / nullif(sum({kind}_ran) * ({there}), 0) AS value, "
           f"CAST(NULL AS DOUBLE) AS baseline FROM ({queries.sql('attempt_work', bin_ns=width, **span)}) w")
    who, (low, high) = ("first attempts alone", model.fresh) if kind == "fresh" else ("all attempts", model.loop)
    return ask(scene.tables, f"engine time that {who} ask for, over what there is ({low:.2f} to {high:.2f})", sql)




def shed_needed(scene: Scene, model: Model, queued_s: float) -> Shed:
    """Share of arrivals to turn away so that all attempts fit, and for how long: until engines that are ``queued_s`` seconds
    behind have caught up with what is left of their time."""
    shares = tuple(round(max(0.0, 1.0 - 1.0 / gain), 3) if gain > 0 else 0.0 for gain in model.loop)
    share = max(shares)
    left = 1.0 - min(model.loop[1] * (1.0 - min(share + DEEPER, 1.0)), 0.95)
    low, high = queued_s, queued_s / max(left, 0.05)
    return Shed((min(shares), share), (round(low, 1), round(high, 1)))


DEEPER = 0.1
"""More than just enough is turned away, or what has piled up would never be worked off."""


def behind_s(scene: Scene, first: int, last: int) -> float:
    """Seconds of work that wait at each replica, on the mean: requests waiting, at what an attempt costs."""
    sql = queries.sql("attempt_work", start_ns=scene.bins.at(first), end_ns=scene.bins.at(last), bin_ns=scene.bins.width_ns)
    frame = scene.tables.frame(sql)
    ran, cost = float(frame["attempts_ran"].sum()), float(frame["attempts_ns"].sum())
    waiting = scene.board.get("replica.queue", {}).values()
    held = [series.mean(first, last) for series in waiting if series.den[first:last].sum() > 0]
    return float(np.mean(held)) * cost / ran / 1e9 if held and ran > 0 else 0.0


def headroom(scene: Scene) -> tuple[float, float] | None:
    """Share of the fleet's capacity that was free in healthy time: 1 - work done over the most ever done, both cost-weighted;
    from the mean and the 95th percentile of half minutes. None without steps."""
    if scene.cost is None:
        return None
    sql = queries.sql("fleet_work", start_ns=scene.bins.start_ns, end_ns=scene.bins.end_ns, bin_ns=scene.bins.width_ns,
                      per_prefill=scene.cost.per_prefill, per_decode=scene.cost.per_decode)  # fmt: skip
    frame = scene.tables.frame(sql)
    work = np.zeros(scene.bins.count)
    np.add.at(work, np.minimum(frame["bin"].to_numpy(), scene.bins.count - 1), frame["work_ns"].to_numpy())
    wide = scene.bins.wide(30.0)
    smooth = np.convolve(work, np.ones(wide) / wide, "valid")
    healthy = smooth[scene.healthy.first : max(scene.healthy.first + 1, scene.healthy.last - wide + 1)]
    most = float(np.quantile(smooth, 0.99))
    if most <= 0 or len(healthy) == 0:
        return None
    low, high = (max(0.0, 1.0 - float(level) / most) for level in (np.quantile(healthy, 0.95), healthy.mean()))
    return round(low, 3), round(high, 3)
