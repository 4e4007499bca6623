"""What fed the outage and what kept it up: loops, told apart into amplifiers and sustainers.

Retries are judged first by hysteresis in fresh demand (Bronson et al., HotOS 2021): once the trigger's own signal is back, do
the same first attempts per second that were served before still get no answer, while the engines work for clients that have
left? That shows that some loop holds, not yet that retries do; so a model is asked too (``retry_model``): could the fleet do
the first attempts alone? Where the trigger never returns the model decides alone, and the answer says so. What happens once
operators turn users away on purpose is their doing and counts for nothing.

A trigger that can feed itself (lost block events cost dumps, which lose more) keeps an outage up while anything that it moves
on its own entity is still off. Other loops of the catalogue amplify where their signature moved. A sustainer amplifies too.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from analysis.factors import growths, suspected
from analysis.investigation import Bound, Evidence, Loop
from analysis.mechanisms import Mechanism, catalogue
from analysis.noise import effect_of
from analysis.onsets import Deviation
from analysis.posterior import Hypothesis, shipped_weights
from analysis.retry_model import Model, behind_s, fit_model, load_evidence, shed_needed
from analysis.scene import Scene, ask
from analysis.signal_catalogue import meaning
from collectors.clock import iso

ATTEMPTS_FACTOR = 1.3
"""Attempts per request, as a multiple of healthy time, from which retries amplify."""
WASTED_AMPLIFIES, WASTED_SUSTAINS = 0.1, 0.6
"""Share of engine time spent for clients that had left."""
ALONE, SURELY_ALONE = 1.5, 1.1
"""Load of first attempts alone, at what they cost in the storm, up to which the fleet would do them once it is over: with
hysteresis, and by the model alone. In a storm caches are colder and batches fuller than they would be. Beyond, the fleet would
have been down without any retry."""
SAME_DEMAND = 1.25
"""Fresh demand up to this multiple of the healthy mean, or up to what was served well at some other time, is the same."""
BACK_S = 60.0
BACK_EFFECT, BACK_SHARE = 0.5, 0.8
"""A signal is back when it is, on the mean and in most minutes, within half a material unit of healthy time."""
GROWN = 0.05
"""Log growth from which a factor had a part in a release that raised several."""
Loops = tuple[tuple[Loop, ...], tuple[Loop, ...]]


def find_loops(scene: Scene, trigger: Hypothesis | None) -> Loops:
    """Amplifiers and sustainers of the episode. ``trigger``: None when none is claimed."""
    own = _self_sustained(scene, trigger)
    amplifiers, sustainers = _retries(scene, trigger, feeds_itself=bool(own))
    return (*amplifiers, *_others(scene, trigger), *_parts(scene, trigger)), (*own, *sustainers)


def _retries(scene: Scene, trigger: Hypothesis | None, *, feeds_itself: bool) -> Loops:
    end = _end(scene)
    bad = _bad_bins(scene, end)
    entity = _cohort(scene, int(bad[0]), int(bad[-1]) + 1) if len(bad) else None
    if entity is None:
        return (), ()
    first, last = int(bad[0]), int(bad[-1]) + 1
    attempts = scene.board["demand.attempts"][entity]
    more = attempts.mean(first, last) / attempts.mean(scene.healthy.first, scene.healthy.last)
    wasted = scene.fleet("replica.wasted", first, last)
    if not (more >= ATTEMPTS_FACTOR and wasted >= WASTED_AMPLIFIES):
        return (), ()
    back = None if trigger is None else _back(scene, trigger, end)
    model = (None if back is None else fit_model(scene, back, end)) or fit_model(scene, first, last)
    evidence = _work(scene, entity, first, last, model)
    if back is not None and trigger is not None:
        held = _hysteresis(scene, back, end) and (model is None or model.fresh[0] < ALONE)
        evidence += _after(scene, entity, trigger, back, end)
    elif model is not None and model.fresh[0] >= SURELY_ALONE:
        return (), ()
    else:
        held = model is not None and model.loop[0] > 1.0
    gain = (0.0, Bound(math.inf)) if model is None else (model.loop[0], Bound(model.loop[1]))
    shed = None if model is None or model.loop[1] <= 1.0 else shed_needed(scene, model, behind_s(scene, first, last))
    loop = Loop(entity, "retry_storm", gain, "model" if back is None else "hysteresis", evidence, shed)
    return (loop,), (loop,) if held and wasted >= WASTED_SUSTAINS and not feeds_itself else ()


def _self_sustained(scene: Scene, trigger: Hypothesis | None) -> tuple[Loop, ...]:
    """The trigger's own loop, while any of the signals that it moves on its entity is still off at the end."""
    if trigger is None or not trigger.mechanism.self_sustaining:
        return ()
    end = _end(scene)
    evidence = []
    for reading in trigger.case.readings:
        found = reading.found
        if reading.state != "there" or found is None or found.entity != trigger.entity:
            continue
        series = scene.board[found.signal.name][found.entity]
        value = series.mean(max(end - scene.bins.wide(BACK_S), found.first), end)
        if effect_of(found.signal, value, found.baseline, scene.healthy.wait_s, found.direction) >= BACK_EFFECT:
            claim = f"{found.entity}: still so at the end: {meaning(found.signal.name)}"
            evidence.append(scene.evidence(claim, found.signal.name, found.entity, end - scene.bins.wide(BACK_S), end))
    if not evidence:
        return ()
    return (Loop(trigger.entity, trigger.mechanism.name, (0.0, Bound(math.inf)), "signal", tuple(evidence)),)


def _others(scene: Scene, trigger: Hypothesis | None) -> tuple[Loop, ...]:
    """The catalogue's other loops whose signature moved before the end, and nothing that they need did not; unless the trigger
    looks like the loop, and so explains it."""
    loops = []
    for mechanism in catalogue().values():
        explained = trigger is not None and trigger.mechanism.name in mechanism.look_alikes
        if mechanism.role != "loop" or mechanism.name == "retry_storm" or explained:
            continue
        moved = [one for entity in scene.of_kind(mechanism.entity_kind) if (one := _moved(scene, mechanism, entity))]
        loops += [loop for _, loop in sorted(moved, key=lambda one: one[0].clearness, reverse=True)[:1]]
    return tuple(loops)


def _moved(scene: Scene, mechanism: Mechanism, entity: str) -> tuple[Deviation, Loop] | None:
    """The loop on an entity, with its clearest signature. Signatures are read on it, other moves that it does not measure on
    whoever shows them most."""
    evidence: list[Evidence] = []
    signs: list[Deviation] = []
    for move in mechanism.moves:
        if move.role == "contradiction":
            continue
        holders = scene.board.get(move.signal, {})
        where = [entity] if move.role == "signature" or entity in holders else list(holders)
        seen = [scene.deviation(move.signal, name, move.direction, _end(scene)) for name in where]
        found = max((one for one in seen if one is not None), key=lambda one: one.clearness, default=None)
        clear = found is not None and found.sure >= shipped_weights().clear and found.effect >= 1.0
        if not clear and move.role in ("signature", "essential"):
            return None
        if found is not None and clear:
            signs += [found] if move.role == "signature" else []
            claim = f"{found.entity}: {move.why} ({meaning(move.signal)})"
            evidence.append(scene.evidence(claim, move.signal, found.entity, found.first, found.last))
    loop = Loop(entity, mechanism.name, (0.0, Bound(math.inf)), "signal", tuple(evidence))
    return max(signs, key=lambda one: one.clearness), loop


def _parts(scene: Scene, trigger: Hypothesis | None) -> tuple[Loop, ...]:
    """Of a release that raised several factors of demand, those that grew."""
    if trigger is None or trigger.mechanism.factor != "several" or (found := suspected(scene, trigger.entity)) is None:
        return ()
    named: dict[str, Mechanism] = {one.factor: one for one in catalogue().values() if one.factor}
    parts = []
    for factor, growth in growths(scene, trigger.entity, found.first, found.last).items():
        if growth.mean - growth.spread > GROWN:
            signal = named[factor].of_role("signature")[0].signal
            claim = f"{trigger.entity}: {named[factor].of_role('signature')[0].why}"
            evidence = scene.evidence(claim, signal, trigger.entity, found.first, found.last)
            parts.append(Loop(trigger.entity, named[factor].name, (0.0, Bound(math.inf)), "signal", (evidence,)))
    return tuple(parts)


def _end(scene: Scene) -> int:
    """The end of the episode, or the bin in which operators began to turn users away."""
    began = [scene.bins.index(change.at_ns) for change in scene.changes if change.kind == "load_shed"]
    after = scene.finding.outage_begin((scene.first, scene.last)) + scene.bins.wide(BACK_S)
    return min([scene.last, *(at for at in began if at > after)])


def _bad_bins(scene: Scene, end: int) -> NDArray[np.int64]:
    """Bins of the episode in which at least half of the requests were bad; where there are none, a tenth."""
    requests, good = scene.finding.requests, scene.finding.good
    share = 1.0 - good / np.maximum(requests, 1.0)
    inside = np.arange(scene.first, end)
    for least in (0.5, 0.1):
        bad = inside[(share[inside] >= least) & (requests[inside] > 0)]
        if len(bad) > 1:
            return bad
    return inside[:0]


def _cohort(scene: Scene, first: int, last: int) -> str | None:
    """The cohort with the most retries."""
    retries = {
        entity: float((series.num - series.den)[first:last].sum())
        for entity, series in scene.board.get("demand.attempts", {}).items()
    }
    return max(retries, key=lambda entity: (retries[entity], entity)) if retries else None


def _back(scene: Scene, trigger: Hypothesis, end: int) -> int | None:
    """The first bin from which the trigger's own signal is healthy to the end, if that leaves half a minute."""
    found = trigger.signature.found
    if found is None or (found.signal.scale == "share" and found.signal.kind == "gateway"):
        return None
    series = scene.board[found.signal.name][found.entity]
    width = scene.bins.wide(BACK_S)

    def off(first: int, last: int) -> bool:
        value = series.mean(first, last)
        return effect_of(found.signal, value, found.baseline, scene.healthy.wait_s, found.direction) >= BACK_EFFECT

    for start in range(found.first + 1, end - scene.bins.wide(30.0) + 1):
        minutes = [off(i, min(i + width, end)) for i in range(start, end, width)]
        if not off(start, end) and not off(start, min(start + width, end)) and sum(minutes) <= (1 - BACK_SHARE) * len(minutes):
            return start
    return None


def _hysteresis(scene: Scene, back: int, end: int) -> bool:
    """Same fresh demand as before, and yet at least half of the requests bad."""
    fresh = np.zeros(scene.bins.count)
    for series in scene.board.get("demand.fresh", {}).values():
        fresh += np.divide(series.num, series.den, out=np.zeros(scene.bins.count), where=series.den > 0)
    requests, good = scene.finding.requests, scene.finding.good
    width = scene.bins.wide(30.0)
    served = [
        float(fresh[i : i + width].mean())
        for i in range(scene.bins.count - width)
        if requests[i : i + width].sum() > 0 and good[i : i + width].sum() >= 0.97 * requests[i : i + width].sum()
    ]
    before = float(fresh[scene.healthy.first : scene.healthy.last].mean())
    now = float(fresh[back:end].mean())
    lost = 1.0 - float(good[back:end].sum()) / max(float(requests[back:end].sum()), 1.0)
    return now <= max([SAME_DEMAND * before, *served]) and lost >= 0.5


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
        items += [load_evidence(scene, model, kind) for kind in ("fresh", "attempts")]
    return tuple(items)


def _after(scene: Scene, entity: str, trigger: Hypothesis, back: int, end: int) -> tuple[Evidence, ...]:
    found = trigger.signature.found
    assert found is not None
    since = f"from {iso(scene.bins.at(back))} to the end of the episode"
    return (
        scene.evidence(f"{found.entity}: the trigger's own signal is back {since} ({meaning(found.signal.name)})",
                       found.signal.name, found.entity, back, end),
        scene.evidence(f"{entity}: first attempts per second {since}", "demand.fresh", entity, back, end),
        scene.evidence(f"{entity}: and yet this share of requests was answered {since}", "users.answered", entity, back,
                       scene.last),
    )


def _between(scene: Scene, first: int, last: int) -> str:
    return f"arrival_ns >= {scene.bins.at(first)} AND arrival_ns < {scene.bins.at(last)}"
