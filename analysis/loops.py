"""What kept the fleet down: the retry loop, told apart into amplifier and sustainer.

Judged first by hysteresis in fresh demand (Bronson et al., HotOS 2021): once the trigger's own signal is back, do the same
first attempts per second that were served before still get no answer, while the engine works for clients that have left?
Where the trigger never returns, a model decides, and says so: could the fleet, as fast as it is now, compute what first
attempts alone need? The gain is that model's other half: the load of all attempts over what the fleet can compute, with a
95 % interval from resampled bins. It is no causal estimate (regressions of load on failures are confounded).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.demand import fleet_rate
from analysis.investigation import Evidence, Loop, iso
from analysis.onsets import effect_of
from analysis.scene import Scene, ask, meaning
from analysis.signals import Floats
from analysis.triggers import Hypothesis

ATTEMPTS_FACTOR = 1.3
"""Attempts per request, as a multiple of healthy time, from which retries amplify."""
WASTED_AMPLIFIES, WASTED_SUSTAINS = 0.1, 0.3
"""Share of engine time spent for clients that had left."""
SAME_DEMAND = 1.25
"""Fresh demand up to this multiple of the healthy mean, or up to what was served well at some other time, is the same."""
DRAWS = 400


@dataclass(frozen=True, slots=True)
class Model:
    """Prompt-token load over what the saturated fleet computes: by first attempts alone and by all; 95 % intervals."""

    fresh: tuple[float, float]
    loop: tuple[float, float]


def find_loops(scene: Scene, trigger: Hypothesis | None) -> tuple[tuple[Loop, ...], tuple[Loop, ...]]:
    """Amplifiers and sustainers of the episode."""
    bad = _bad_bins(scene)
    if len(bad) == 0:
        return (), ()
    first, last = int(bad[0]), int(bad[-1]) + 1
    entity = _cohort(scene, first, last)
    if entity is None:
        return (), ()
    attempts = scene.board["demand.attempts"][entity]
    more = attempts.mean(first, last) / attempts.mean(scene.healthy.first, scene.healthy.last)
    wasted = _wasted(scene, first, last)
    if not (more >= ATTEMPTS_FACTOR and wasted >= WASTED_AMPLIFIES):
        return (), ()
    model = _model(scene, bad)
    back = None if trigger is None else _back(scene, trigger)
    evidence = _work(scene, entity, first, last, model)
    sustains = wasted >= WASTED_SUSTAINS
    if back is not None and trigger is not None:
        held = sustains and _hysteresis(scene, back)
        evidence += _after(scene, entity, trigger, back)
        loop = Loop(entity, "retry_storm", _gain(model), "hysteresis", evidence)
    else:
        held = sustains and model is not None and model.fresh[1] < 1.0 < model.loop[0]
        loop = Loop(entity, "retry_storm", _gain(model), "model", evidence)
    return ((), (loop,)) if held else ((loop,), ())


def _gain(model: Model | None) -> tuple[float, float]:
    return (0.0, math.inf) if model is None else model.loop


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


def _wasted(scene: Scene, first: int, last: int) -> float:
    of = scene.board.get("replica.wasted", {}).values()
    busy = sum(float(series.den[first:last].sum()) for series in of)
    return sum(float(series.num[first:last].sum()) for series in of) / busy if busy > 0 else 0.0


def _back(scene: Scene, trigger: Hypothesis) -> int | None:
    """The bin from which the trigger's own signal stays healthy to the end of the episode, if that leaves half a minute."""
    found = trigger.signature.found
    if found is None or found.signal.scale == "share" and found.signal.kind == "gateway":
        return None
    series = scene.board[found.signal.name][found.entity]
    baseline = series.mean(scene.healthy.first, scene.healthy.last)
    width = max(1, round(30e9 / scene.bins.width_ns))
    back = scene.last
    for start in range(scene.last - 1, found.first, -1):
        value = series.mean(start, min(start + width, scene.last))
        effect = effect_of(found.signal, value, baseline, scene.healthy.wait_s, found.direction)
        if not effect < 0.5:
            break
        back = start
    return back if scene.last - back >= width else None


def _hysteresis(scene: Scene, back: int) -> bool:
    """Same fresh demand as before, and yet at least half of the requests bad."""
    fresh = fleet_rate(scene, "demand.fresh")
    requests, good = scene.finding.requests, scene.finding.good
    served = [
        float(fresh[i : i + 6].mean())
        for i in range(0, scene.bins.count - 6)
        if requests[i : i + 6].sum() > 0 and good[i : i + 6].sum() >= 0.97 * requests[i : i + 6].sum()
    ]
    before = float(fresh[scene.healthy.first : scene.healthy.last].mean())
    now = float(fresh[back : scene.last].mean())
    lost = 1.0 - float(good[back : scene.last].sum()) / max(float(requests[back : scene.last].sum()), 1.0)
    return now <= max([SAME_DEMAND * before, *served]) and lost >= 0.5


def _model(scene: Scene, bad: NDArray[np.int64]) -> Model | None:
    """None without steps or without bins in which requests waited."""
    computed, fresh = fleet_rate(scene, "replica.computed"), fleet_rate(scene, "demand.fresh")
    attempts = np.zeros(scene.bins.count)
    for series in scene.board.get("demand.attempts", {}).values():
        attempts += series.num
    attempts /= scene.bins.width_ns / 1e9
    healthy = slice(scene.healthy.first, scene.healthy.last)
    a_request = float(computed[healthy].sum()) / max(float(fresh[healthy].sum()), 1e-9)
    saturated = bad[_waiting(scene)[bad] > 0.5] if len(bad) else bad
    if a_request <= 0 or len(saturated) < 3 or float(computed[saturated].sum()) <= 0:
        return None
    random = np.random.default_rng(0)
    draws = saturated[random.integers(0, len(saturated), (DRAWS, len(saturated)))]
    capacity = computed[draws].mean(axis=1)
    of_fresh, of_all = (a_request * load[draws].mean(axis=1) / capacity for load in (fresh, attempts))
    return Model(_interval(of_fresh), _interval(of_all))


def _interval(draws: Floats) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return round(float(low), 3), round(float(high), 3)


def _waiting(scene: Scene) -> Floats:
    """Requests waiting per request running, fleet-wide, per bin."""
    num, den = np.zeros(scene.bins.count), np.zeros(scene.bins.count)
    for series in scene.board.get("replica.waiting", {}).values():
        num, den = num + series.num, den + series.den
    return num / np.maximum(den, 1.0)


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
        rate = "sum(prefill_tokens) / {:.6f}"
        spans = ((first, last), (scene.healthy.first, scene.healthy.last))
        values = (f"(SELECT {rate.format((b - a) * scene.bins.width_ns / 1e9)} FROM steps WHERE "
                  f"start_ns >= {scene.bins.at(a)} AND start_ns < {scene.bins.at(b)})" for a, b in spans)
        claim = (f"prompt tokens that the fleet computed per second; first attempts alone needed {model.fresh[0]:.2f} to "
                 f"{model.fresh[1]:.2f} times what it can when saturated, all attempts {model.loop[0]:.2f} to {model.loop[1]:.2f}")
        items.append(ask(scene.tables, claim, "SELECT {} AS value, {} AS baseline".format(*values)))
    return tuple(items)


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
