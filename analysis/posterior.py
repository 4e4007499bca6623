"""How probable each mechanism on each entity is as the trigger: a posterior over (entity, mechanism) and the ways out.

Each mechanism of the catalogue is tried on each entity of its kind. A move that is there adds to the log odds in proportion to
how sure and how large it is, one that is measured and absent subtracts, one that is not measured does nearly nothing. A
signature that began surely after another one that stands may be its consequence. A recorded change at the right place and time
adds a little and can never decide. *Not in the catalogue* stands beside the named hypotheses with a fixed score. What the
parts are worth is fitted on training families (``weights.toml``, ``tests/bench/fit_weights.py``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from analysis.factors import odds
from analysis.mechanisms import Mechanism, catalogue
from analysis.readings import Reading, read_all
from analysis.scene import Change, Scene
from analysis.strict_toml import shipped

ALIKE = 1.5
"""Log odds apart up to which entities show the same."""
CHANGE_BONUS = 0.5
"""Log odds for a recorded change that fits, at most half the way up to the next better hypothesis."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Log odds of the parts. ``clear``, ``unsteady``: normal deviations that half convince, and how quickly more of them do
    (windows are searched, so that 3 is often chance). ``saturation``: how quickly size stops to count, per material unit.
    ``factor``: of the odds that a factor of demand rose. ``outside``: score of *not in the catalogue*."""

    signature_there: float
    signature_absent: float
    signature_unmeasured: float
    signature_unused: float
    essential_there: float
    essential_absent: float
    essential_unknown: float
    symptom_there: float
    symptom_absent: float
    contradiction: float
    preceded: float
    after_users: float
    factor: float
    unreachable: float
    outside: float
    clear: float
    unsteady: float
    saturation: float

    def strength(self, reading: Reading) -> float:
        """0 to 1: how sure and how large a move is that is there."""
        if reading.state != "there" or reading.found is None:
            return 0.0
        sure = 0.5 * (1.0 + math.erf((reading.found.sure - self.clear) / self.unsteady / math.sqrt(2.0)))
        return (1.0 - math.exp(-self.saturation * reading.effect)) * sure

    def log_odds(self, reading: Reading) -> float:
        """What one move is worth."""
        weight, x = reading.move.weight, self.strength(reading)
        match reading.move.role:
            case "signature":
                if not reading.known:
                    return self.signature_unmeasured if reading.state == "unmeasured" else self.signature_unused
                return self.signature_there * weight * x + self.signature_absent * (1.0 - x) ** 2
            case "essential":
                if not reading.known:
                    return self.essential_unknown
                return weight * (self.essential_there * x + self.essential_absent * (1.0 - x) ** 2)
            case "symptom":
                return weight * (self.symptom_there * x + self.symptom_absent * (1.0 - x) ** 2) if reading.known else 0.0
            case _:
                return self.contradiction * weight * x


@cache
def shipped_weights() -> Weights:
    """Those of ``weights.toml``."""
    weights: Weights = shipped(Weights, "weights.toml")
    return weights


@dataclass(frozen=True, slots=True)
class Evidenced:
    """A mechanism on an entity with what was read of it, before it is weighed. ``factor``: log odds that its factor of demand
    rose (NaN: it has none, or none can be suspected)."""

    entity: str
    mechanism: Mechanism
    readings: tuple[Reading, ...]
    factor: float
    reaches_users: bool
    change: Change | None

    @property
    def signature(self) -> Reading:
        """Its surest signature."""
        own = [reading for reading in self.readings if reading.move.role == "signature"]
        return max(own, key=lambda r: (r.state == "there", r.known, 0.0 if r.found is None else r.found.sure))


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One that was weighed: ``score`` in log odds, ``strength`` of its signature from 0 to 1. ``also``: entities that show the
    same, for which this one stands."""

    case: Evidenced
    score: float
    strength: float
    also: tuple[str, ...] = ()

    @property
    def entity(self) -> str:
        """Where it is."""
        return self.case.entity

    @property
    def mechanism(self) -> Mechanism:
        """What it is."""
        return self.case.mechanism

    @property
    def signature(self) -> Reading:
        """Its surest signature."""
        return self.case.signature


Ranking = list[tuple[Hypothesis, float]]


def rank(scene: Scene, doubt: float = 0.0) -> Ranking:
    """All hypotheses with their probabilities, most probable first; what is missing to 1 is *not in the catalogue*. ``doubt``:
    log odds that the telemetry's quality adds to that."""
    weights = shipped_weights()
    return weigh(gather(scene), scene.bins.at(scene.first + 1), replace(weights, outside=weights.outside + doubt))


def gather(scene: Scene) -> list[Evidenced]:
    """Every trigger of the catalogue on every entity of its kind."""
    reached = _reaching_users(scene)
    factors = {cohort: odds(scene, cohort) for cohort in scene.of_kind("cohort")}
    found = []
    for mechanism in catalogue().values():
        if mechanism.role != "trigger":
            continue
        for entity in scene.of_kind(mechanism.entity_kind):
            readings = read_all(scene, mechanism, entity)
            factor = factors.get(entity, {}).get(mechanism.factor, math.nan)
            case = Evidenced(entity, mechanism, readings, factor, reached is None or entity in reached, None)
            found.append(replace(case, change=change_before(scene, case)))
    return found


def weigh(cases: Iterable[Evidenced], felt_ns: int, weights: Weights) -> Ranking:
    """The posterior. ``felt_ns``: what begins later began surely after the users' trouble."""
    kept = _representatives([_weighed(case, weights) for case in cases])
    kept = _heed_changes(_prefer_earlier(kept, felt_ns, weights))
    top = max([weights.outside, *(h.score for h in kept)])
    parts = [math.exp(h.score - top) for h in kept]
    total = sum(parts) + math.exp(weights.outside - top)
    ranked = [(h, part / total) for h, part in zip(kept, parts, strict=True)]
    return sorted(ranked, key=lambda pair: (-pair[1], pair[0].mechanism.name, *_standing(pair[0])))


def _representatives(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """Where a mechanism does not set one entity apart, one stands for all that it moved alike: the one that shows it most."""
    kept: list[Hypothesis] = []
    shared: dict[str, list[Hypothesis]] = {}
    for h in hypotheses:
        if _individual(h.mechanism):
            kept.append(h)
        else:
            shared.setdefault(h.mechanism.name, []).append(h)
    for together in shared.values():
        best = min(together, key=_standing)
        alike = (h.entity for h in together if h is not best and h.score >= best.score - ALIKE)
        kept.append(replace(best, also=tuple(sorted(alike, key=_natural))))
    return kept


def _standing(h: Hypothesis) -> tuple[float, float, list[tuple[int, str]]]:
    """Sorts entities for one mechanism: what scores alike by how far its signature went, and by name only what is equal."""
    return -h.score, -h.signature.effect, _natural(h.entity)


def _natural(entity: str) -> list[tuple[int, str]]:
    """So that replica 2 comes before replica 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", entity)]


def change_before(scene: Scene, case: Evidenced) -> Change | None:
    """The last recorded change of a kind that can set the mechanism off, to the entity (or to no entity in particular),
    at most the mechanism's longest lag before its signature began."""
    found = case.signature.found
    if found is None or case.signature.state != "there":
        return None
    earliest = found.onset.low - case.mechanism.lag_bounds_s[1] * 1e9
    fitting = [
        change for change in scene.changes
        if change.kind in case.mechanism.initiated_by and earliest <= change.at_ns <= found.onset.high
        and change.entity in ("", case.entity)
    ]  # fmt: skip
    return fitting[-1] if fitting else None


def _weighed(case: Evidenced, weights: Weights) -> Hypothesis:
    counted = [r for r in case.readings if not (case.mechanism.factor and r.move.role == "signature")]
    score = sum(map(weights.log_odds, counted))
    strength = weights.strength(case.signature)
    if case.mechanism.factor:
        known = not math.isnan(case.factor)
        score += weights.factor * case.factor if known else weights.signature_absent
        strength = 1.0 / (1.0 + math.exp(-weights.factor * case.factor)) if known else 0.0
    return Hypothesis(case, score + (0.0 if case.reaches_users else weights.unreachable), strength)


def _individual(mechanism: Mechanism) -> bool:
    """Whether the mechanism sets one entity apart from its peers; otherwise the worst entity speaks for all."""
    return mechanism.family == "demand" or any(move.versus == "peers" for move in mechanism.of_role("signature"))


def _reaching_users(scene: Scene) -> set[str] | None:
    """The entities from which relations lead to a gateway or cohort; None when there are no relations to go by."""
    if not scene.relations:
        return None
    beside: dict[str, set[str]] = {}
    for src, dst in scene.relations:
        beside.setdefault(src, set()).add(dst)
        beside.setdefault(dst, set()).add(src)
    reached = {entity for entity in scene.entities if entity.startswith(("cohort:", "gateway:", "traffic_manager:"))}
    open_ends = sorted(reached)
    while open_ends:
        new = beside.get(open_ends.pop(), set()) - reached
        reached |= new
        open_ends += new
    # An entity that only its own metrics name has no known place: that is no reason against it.
    return reached | {entity for entity in scene.entities if entity not in beside}


def _prefer_earlier(hypotheses: list[Hypothesis], felt_ns: int, weights: Weights) -> list[Hypothesis]:
    """A signature that began surely after another one may be its consequence, the more so the stronger that one is; and one
    that began surely after the users' trouble may be a consequence of that. But what a demand brought on before users felt
    anything is what failed, and the demand is what began it."""
    there = [
        (h.signature.found.onset.high, h.strength * max(h.signature.move.weight, 0.5), h) for h in hypotheses
        if h.signature.found and h.signature.state == "there" and h.score > weights.outside
    ]
    brought_on: dict[str, float] = {}
    for _, strength, o in there:
        if o.signature.found is not None and o.signature.found.onset.low < felt_ns:
            brought_on |= {name: max(strength, brought_on.get(name, 0.0)) for name in o.mechanism.brought_on_by}
    result = []
    for h in hypotheses:
        own, score = h.signature.found, h.score + weights.contradiction * brought_on.get(h.mechanism.name, 0.0)
        if own is not None and h.signature.state == "there":
            before = [
                strength for high, strength, o in there
                if high <= own.onset.low and o is not h and o.mechanism.name not in h.mechanism.brought_on_by
            ]
            score += weights.preceded * max(before, default=0.0) + (weights.after_users if own.onset.low >= felt_ns else 0.0)
        result.append(replace(h, score=score))
    return result


def _heed_changes(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """Give the bonus for a recorded change, but at most half the way up to the next better one: the order stays. Equals have
    the same one above them, in whatever order they come."""
    result: list[Hypothesis] = []
    above = level = math.inf
    for h in sorted(hypotheses, key=lambda h: -h.score):
        if h.score < level:
            above, level = level, h.score
        bonus = min(CHANGE_BONUS, (above - h.score) / 2)
        result.append(replace(h, score=h.score + bonus) if h.case.change else h)
    return result
