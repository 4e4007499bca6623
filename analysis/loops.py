"""What kept the fleet down: the retry loop, told apart into amplifier and sustainer.

Judged first by hysteresis in fresh demand (Bronson et al., HotOS 2021): once the trigger's own signal is back, do the same
first attempts per second that were served before still get no answer, while the engine works for clients that have left?
That shows that some loop holds, not yet that retries do. So a model is asked too: could the fleet do the first attempts
alone, at the engine time that each costs now? If surely not (caches are cold, say), cutting retries would not free it, and
they only amplify. Where the trigger never returns the model decides alone, and the answer says so. The gain is the model's
other half: the load of all attempts over what the fleet can do, with a 95 % interval from resampled bins. It is no causal
estimate (regressions of load on failures are confounded).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis import queries
from analysis.investigation import Bound, Evidence, Loop
from analysis.onsets import effect_of
from analysis.scene import Scene, ask, meaning
from analysis.signals import Floats
from analysis.triggers import Hypothesis
from collectors.clock import iso

ATTEMPTS_FACTOR = 1.3
"""Attempts per request, as a multiple of healthy time, from which retries amplify."""
WASTED_AMPLIFIES, WASTED_SUSTAINS = 0.1, 0.3
"""Share of engine time spent for clients that had left."""
SAME_DEMAND = 1.25
"""Fresh demand up to this multiple of the healthy mean, or up to what was served well at some other time, is the same."""
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


def find_loops(scene: Scene, trigger: Hypothesis | None) -> tuple[tuple[Loop, ...], tuple[Loop, ...]]:
    """Amplifiers and sustainers of the episode. ``trigger``: None when none is claimed."""
    bad = _bad_bins(scene)
    if len(bad) == 0:
        return (), ()
    first, last = int(bad[0]), int(bad[-1]) + 1
    entity = _cohort(scene, first, last)
    if entity is None:
        return (), ()
    attempts = scene.board["demand.attempts"][entity]
    more = attempts.mean(first, last) / attempts.mean(scene.healthy.first, scene.healthy.last)
    wasted = scene.fleet("replica.wasted", first, last)
    if not (more >= ATTEMPTS_FACTOR and wasted >= WASTED_AMPLIFIES):
        return (), ()
    back = None if trigger is None else _back(scene, trigger)
    model = (None if back is None else _model(scene, back, scene.last)) or _model(scene, first, last)
    evidence = _work(scene, entity, first, last, model)
    if back is not None and trigger is not None:
        held = _hysteresis(scene, back) and (model is None or model.fresh[0] < 1.0)
        evidence += _after(scene, entity, trigger, back)
    else:
        held = model is not None and model.fresh[1] < 1.0 < model.loop[0]
    gain = (0.0, Bound(math.inf)) if model is None else (model.loop[0], Bound(model.loop[1]))
    loop = Loop(entity, "retry_storm", gain, "model" if back is None else "hysteresis", evidence)
    return ((), (loop,)) if held and wasted >= WASTED_SUSTAINS else ((loop,), ())


def _bad_bins(scene: Scene) -> NDArray[np.int64]:
    """Bins of the episode in which at least half of the requests were bad."""
    requests, good = scene.finding.requests, scene.finding.good
    share = 1.0 - good / np.maximum(requests, 1.0)
    inside = np.arange(scene.first, scene.last)
    return inside[(share[inside] >= 0.5) & (requests[inside] > 0)]


def _cohort(scene: Scene, first: int, last: int) -> str | None:
    """The cohort with the most retries."""
    retries = {
        entity: float((series.num - series.den)[first:last].sum())
        for entity, series in scene.board.get("demand.attempts", {}).items()
    }
    return max(retries, key=lambda entity: (retries[entity], entity)) if retries else None


def _back(scene: Scene, trigger: Hypothesis) -> int | None:
    """The bin from which the trigger's own signal stays healthy to the end of the episode, if that leaves half a minute."""
    found = trigger.signature.found
    if found is None or (found.signal.scale == "share" and found.signal.kind == "gateway"):
        return None
    series = scene.board[found.signal.name][found.entity]
    baseline = series.mean(scene.healthy.first, scene.healthy.last)
    width = scene.bins.wide(30.0)
    back = scene.last
    for start in range(scene.last - width, found.first, -1):
        value = series.mean(start, start + width)
        effect = effect_of(found.signal, value, baseline, scene.healthy.wait_s, found.direction)
        if effect >= 0.5:
            break
        back = back if math.isnan(effect) else start
    return back if back < scene.last else None


def _hysteresis(scene: Scene, back: int) -> bool:
    """Same fresh demand as before, and yet at least half of the requests bad."""
    fresh = np.zeros(scene.bins.count)
    for series in scene.board["demand.fresh"].values():
        fresh += series.num / series.den
    requests, good = scene.finding.requests, scene.finding.good
    width = scene.bins.wide(30.0)
    served = [
        float(fresh[i : i + width].mean())
        for i in range(scene.bins.count - width)
        if requests[i : i + width].sum() > 0 and good[i : i + width].sum() >= 0.97 * requests[i : i + width].sum()
    ]
    before = float(fresh[scene.healthy.first : scene.healthy.last].mean())
    now = float(fresh[back : scene.last].mean())
    lost = 1.0 - float(good[back : scene.last].sum()) / max(float(requests[back : scene.last].sum()), 1.0)
    return now <= max([SAME_DEMAND * before, *served]) and lost >= 0.5


def _model(scene: Scene, first: int, last: int) -> Model | None:
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


def _work(scene: Scene, entity: str, first: int, last: int, model: Model | None) -> tuple[Evidence, ...]:
    during, before = _between(scene, first, last), _between(scene, scene.healthy.first, scene.healthy.last)
    share = "sum(wasted_ns) / nullif(sum(busy_ns), 0)"
    each = "sum(wasted_ns) / 1e9 / nullif(sum(CASE WHEN outcome <> 'ok' THEN 1 ELSE 0 END), 0)"
    items = [scene.evidence(f"{entity}: each request cost so many attempts", "demand.attempts", entity, first, last)]
    for what, claim in ((share, "share of engine time spent for clients that had left"),
                        (each, "seconds of engine time wasted per failed attempt")):
        sql = (f"SELECT (SELECT {what} FROM requests WHERE {during}) AS value, "
               f"(SELECT {what} FROM requests WHERE {before}) AS baseline")
        items.append(ask(scene.tables, claim, sql))
    if model is not None:
        items += [_load(scene, model, kind) for kind in ("fresh", "attempts")]
    return tuple(items)


def _load(scene: Scene, model: Model, kind: str) -> Evidence:
    """What first attempts alone, or all, ask for. Healthy time has no value for it: a batch costs each less when full."""
    span = {"start_ns": scene.bins.at(model.first), "end_ns": scene.bins.at(model.last)}
    width = span["end_ns"] - span["start_ns"]
    there = f"SELECT sum(num) FROM ({queries.sql('replica_busy', bin_ns=width, **span)}) b"
    sql = (f"SELECT sum({kind}) * sum({kind}_ns) / nullif(sum({kind}_ran) * ({there}), 0) AS value, "
           f"CAST(NULL AS DOUBLE) AS baseline FROM ({queries.sql('attempt_work', bin_ns=width, **span)}) w")
    who, (low, high) = ("first attempts alone", model.fresh) if kind == "fresh" else ("all attempts", model.loop)
    return ask(scene.tables, f"engine time that {who} ask for, over what there is ({low:.2f} to {high:.2f})", sql)


def _after(scene: Scene, entity: str, trigger: Hypothesis, back: int) -> tuple[Evidence, ...]:
    found = trigger.signature.found
    assert found is not None
    since = f"from {iso(scene.bins.at(back))} to the end of the episode"
    return (
        scene.evidence(f"{found.entity}: the trigger's own signal is back {since} ({meaning(found.signal.name)})",
                       found.signal.name, found.entity, back, scene.last),
        scene.evidence(f"{entity}: first attempts per second {since}", "demand.fresh", entity, back, scene.last),
        scene.evidence(f"{entity}: and yet this share of requests was answered {since}", "users.answered", entity, back,
                       scene.last),
    )


def _between(scene: Scene, first: int, last: int) -> str:
    return f"arrival_ns >= {scene.bins.at(first)} AND arrival_ns < {scene.bins.at(last)}"
