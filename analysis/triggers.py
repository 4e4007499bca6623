"""Which entity failed first, and how: a posterior over (entity, mechanism) and the ways out.

Each mechanism of the catalogue is tried on each entity of its kind. A move that is there adds to the log odds in
proportion to its strength, a move that is measured and absent subtracts, one that is not measured does neither:
silence is no alibi. Only deviations that began before the users felt anything count, as later ones may be consequences.
A recorded change at the right place and time adds a little and can never decide. *Not in the catalogue* stands beside
the named hypotheses with a fixed score; the probabilities are scores until calibrated on simulated incidents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from analysis.investigation import Evidence, Instant, Onset, Trigger
from analysis.mechanisms import Mechanism, Move, catalogue
from analysis.onsets import Deviation
from analysis.scene import Change, Scene, meaning

SIGNATURE_THERE, SIGNATURE_ABSENT, SIGNATURE_UNKNOWN = 5.0, -4.0, -0.5
SYMPTOM_THERE, SYMPTOM_ABSENT = 1.5, -0.7
CONTRADICTION = -2.5
FIRST_BONUS = 0.6
"""For a signature that began before everything else that could have been the trigger, beyond overlap."""
CHANGE_BONUS = 0.5
UNREACHABLE = -3.0
OUTSIDE = 1.0
"""Score of *not in the catalogue*."""
NAMED = 0.5
"""Least probability to name a trigger; below, the investigation abstains."""
SHOWN = 0.01


@dataclass(frozen=True, slots=True)
class Reading:
    """One move of a mechanism as measured: ``strength`` 0 to 1 (NaN: not measured), and the deviation that shows it; with
    strength 0 one that peers share, or that began too late (``late``: surely after the users felt it)."""

    move: Move
    strength: float
    found: Deviation | None
    late: bool


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A mechanism on an entity with its readings and log odds; ``change``: the recorded change that fits, if any."""

    entity: str
    mechanism: Mechanism
    readings: tuple[Reading, ...]
    score: float
    change: Change | None

    @property
    def signature(self) -> Reading:
        """Its strongest signature."""
        own = [reading for reading in self.readings if reading.move.role == "signature"]
        return max(own, key=lambda reading: -1.0 if math.isnan(reading.strength) else reading.strength)


def rank(scene: Scene) -> list[tuple[Hypothesis, float]]:
    """All hypotheses with their probabilities, most probable first; what is missing to 1 is *not in the catalogue*."""
    hypotheses = []
    for mechanism in catalogue().values():
        if mechanism.role == "trigger":
            tried = [_try(scene, mechanism, entity) for entity in scene.of_kind(mechanism.entity_kind)]
            hypotheses += tried if _individual(mechanism) else sorted(tried, key=lambda h: (-h.score, h.entity))[:1]
    hypotheses = _heed_changes(_prefer_earlier(hypotheses))
    top = max([OUTSIDE, *(hypothesis.score for hypothesis in hypotheses)])
    weights = [math.exp(hypothesis.score - top) for hypothesis in hypotheses]
    total = sum(weights) + math.exp(OUTSIDE - top)
    ranked = [(hypothesis, weight / total) for hypothesis, weight in zip(hypotheses, weights, strict=True)]
    return sorted(ranked, key=lambda pair: (-pair[1], pair[0].mechanism.name, pair[0].entity))


def name_triggers(scene: Scene, ranked: list[tuple[Hypothesis, float]]) -> tuple[Trigger, ...]:
    """The hypotheses worth showing, at most five, with their evidence; those whose signature was seen not to move are not."""
    shown = [(h, p) for h, p in ranked if p >= SHOWN and h.signature.strength != 0.0][:5]
    return tuple(
        Trigger(
            number, hypothesis.entity, hypothesis.mechanism.name, _equivalents(hypothesis, ranked), probability,
            _onset(scene, hypothesis), _evidence(scene, hypothesis),
        )
        for number, (hypothesis, probability) in enumerate(shown, start=1)
    )  # fmt: skip


def change_before(scene: Scene, mechanism: Mechanism, entity: str, onset: Onset) -> Change | None:
    """The last recorded change of a kind that can set the mechanism off, to the entity (or to no entity in particular),
    at most the mechanism's longest lag before the onset."""
    earliest = onset.low - mechanism.lag_bounds_s[1] * 1e9
    fitting = [
        change for change in scene.changes
        if change.kind in mechanism.initiated_by and earliest <= change.at_ns <= onset.high
        and change.entity in ("", entity)
    ]  # fmt: skip
    return fitting[-1] if fitting else None


def _individual(mechanism: Mechanism) -> bool:
    """Whether the mechanism sets one entity apart from its peers; otherwise the worst entity speaks for all."""
    return any(move.versus == "peers" for move in mechanism.of_role("signature"))


def _try(scene: Scene, mechanism: Mechanism, entity: str) -> Hypothesis:
    readings = _in_order(tuple(_read(scene, move, entity) for move in mechanism.moves))
    score = sum(_log_odds(reading) for reading in readings)
    score += 0.0 if _reaches_users(scene, entity) else UNREACHABLE
    found = next((r.found for r in readings if r.move.role == "signature" and r.found and r.strength > 0), None)
    change = change_before(scene, mechanism, entity, found.onset) if found else None
    return Hypothesis(entity, mechanism, readings, score, change)


def _read(scene: Scene, move: Move, entity: str) -> Reading:
    """Signatures and moves of the entity's own kind are read on it; others on whichever entity shows them most."""
    holders = scene.board.get(move.signal, {})
    where = [entity] if move.role == "signature" or (move.role == "symptom" and entity in holders) else list(holders)
    measured = [name for name in where if scene.measured(move.signal, name)]
    if not measured:
        return Reading(move, math.nan, None, late=False)
    best = Reading(move, 0.0, None, late=False)
    for name in measured:
        found = scene.deviation(move.signal, name, move.direction)
        strength = 0.0 if found is None else _strength(scene, move, found)
        if best.found is None or strength > best.strength:
            best = Reading(move, strength, found, late=False)
    if best.found is None and move.role == "signature":
        after = scene.deviation(move.signal, entity, move.direction, scene.last)
        late = after is not None and after.onset.low >= scene.bins.at(scene.first)
        return Reading(move, 0.0, after, late)
    return best


def _in_order(readings: tuple[Reading, ...]) -> tuple[Reading, ...]:
    """Symptoms that surely began before every sign of their cause are not its symptoms: as if absent."""
    signs = [r.found.onset.low for r in readings if r.move.role == "signature" and r.found and r.strength > 0]
    if not signs:
        return readings
    return tuple(
        replace(r, strength=0.0) if r.move.role == "symptom" and r.found and r.found.onset.high <= min(signs) else r
        for r in readings
    )


def _strength(scene: Scene, move: Move, found: Deviation) -> float:
    """0 to 1: 0.63 at one material unit (beyond the peers' median, where peers count), 0.95 at three; 0 below one."""
    effect = found.effect - (max(0.0, scene.peer_effect(found)) if move.versus == "peers" else 0.0)
    return 1.0 - math.exp(-effect) if effect >= 1.0 else 0.0


def _log_odds(reading: Reading) -> float:
    weight, x = reading.move.weight, reading.strength
    if reading.move.role == "signature":
        if math.isnan(x):
            return SIGNATURE_UNKNOWN
        return SIGNATURE_THERE * weight * x if x > 0 else SIGNATURE_ABSENT
    if math.isnan(x):
        return 0.0
    if reading.move.role == "symptom":
        return weight * (SYMPTOM_THERE * x if x > 0 else SYMPTOM_ABSENT)
    return CONTRADICTION * weight * x


def _reaches_users(scene: Scene, entity: str) -> bool:
    """Whether relations lead from the entity to a gateway or cohort; True when there are no relations to go by."""
    if not scene.relations or entity.startswith(("cohort:", "gateway:")):
        return True
    reached, open_ends = {entity}, [entity]
    while open_ends:
        one = open_ends.pop()
        for src, dst in scene.relations:
            other = dst if src == one else src if dst == one else None
            if other is not None and other not in reached:
                reached.add(other)
                open_ends.append(other)
    return any(name.startswith("gateway:") for name in reached)


def _prefer_earlier(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """Give the bonus to hypotheses whose signature began surely before all others' that are there too."""
    there = [h for h in hypotheses if h.signature.found and not h.signature.late and h.signature.strength > 0]
    result = []
    for h in hypotheses:
        others = [o.signature.found.onset.low for o in there if o is not h and o.signature.found]
        own = h.signature.found
        first = h in there and own is not None and bool(others) and own.onset.high <= min(others)
        result.append(replace(h, score=h.score + FIRST_BONUS) if first else h)
    return result


def _heed_changes(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """Give the bonus for a recorded change, but at most half the way up to the next better one: the order stays."""
    result: list[Hypothesis] = []
    above = math.inf
    for h in sorted(hypotheses, key=lambda h: -h.score):
        bonus = min(CHANGE_BONUS, (above - h.score) / 2)
        result.append(replace(h, score=h.score + bonus) if h.change else h)
        above = h.score
    return result


def _equivalents(hypothesis: Hypothesis, ranked: list[tuple[Hypothesis, float]]) -> tuple[str, ...]:
    """Look-alikes that cannot be told from the hypothesis: its signature or theirs is not measured, and they score alike."""
    scores: Mapping[str, Hypothesis] = {other.mechanism.name: other for other, _ in reversed(ranked)}
    names = []
    for name in hypothesis.mechanism.look_alikes:
        other = scores.get(name)
        blind = other is not None and (math.isnan(other.signature.strength) or math.isnan(hypothesis.signature.strength))
        if other is not None and blind and abs(other.score - hypothesis.score) < 1.5:
            names.append(name)
    return tuple(names)


def _onset(scene: Scene, hypothesis: Hypothesis) -> Onset:
    found = hypothesis.signature.found
    if found is not None:
        return found.onset
    onsets = [reading.found.onset for reading in hypothesis.readings if reading.found is not None]
    start = Instant(scene.bins.at(scene.first))
    return min(onsets, key=lambda onset: (onset.low, onset.high)) if onsets else Onset(start, start)


def _evidence(scene: Scene, hypothesis: Hypothesis) -> tuple[Evidence, ...]:
    """One item for each move that is there, and for signatures that are measured and absent."""
    items = []
    for reading in hypothesis.readings:
        if reading.found is not None and reading.strength > 0:
            found = reading.found
            claim = f"{found.entity}: {reading.move.why} ({meaning(reading.move.signal)})"
            if reading.move.role == "contradiction":
                claim = f"against it: {claim}"
            items.append(scene.evidence(claim, reading.move.signal, found.entity, found.first, found.last))
        elif reading.move.role == "signature" and reading.strength == 0.0:
            claim = f"{hypothesis.entity}: not before the impact: {meaning(reading.move.signal)}"
            items.append(scene.evidence(claim, reading.move.signal, hypothesis.entity, *scene.lead_up))
    return tuple(items)
