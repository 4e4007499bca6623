"""Which entity failed first, and how: the ranking in words, with the evidence of each claim, or the admission of ignorance."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.investigation import Evidence, Instant, Onset, Trigger
from analysis.posterior import Hypothesis, Ranking
from analysis.scene import Scene
from analysis.signal_catalogue import meaning

NAMED = 0.5
"""Least probability of an entity to name a trigger; below, the investigation abstains."""
SHOWN = 0.01
MOST = 5
STRONG = 0.7
NEAR_NS = 60_000_000_000
"""Strength, and distance of onsets, of causes that may have acted together."""
HIDDEN = -1.5
"""Log odds of a factor of demand from which it may have risen unnoticed."""
ALIKE = 0.7
"""Log odds apart up to which look-alikes are not told from each other."""


def name_triggers(
    scene: Scene, ranked: Ranking, *, first_rank: int = 1, most: int = MOST, episode: int = 0
) -> tuple[Trigger, ...]:
    """The hypotheses worth showing, with their evidence; those whose signature was seen not to move are not."""
    shown = [(h, p) for h, p in ranked if p >= SHOWN and _possible(h)][:most]
    sets = _together(shown)
    return tuple(
        Trigger(
            number, hypothesis.entity, hypothesis.mechanism.name, equivalents(hypothesis, ranked), probability,
            onset_of(scene, hypothesis), _evidence(scene, hypothesis), hypothesis.also, sets.get(id(hypothesis)), episode,
        )
        for number, (hypothesis, probability) in enumerate(shown, start=first_rank)
    )  # fmt: skip


def _together(shown: Ranking) -> dict[int, int]:
    """Causes that may have been needed together: signatures as strong, on other entities, neither surely before the other.
    That they were is for an experiment to say; one alone may have done it."""
    if not shown:
        return {}
    best = shown[0][0]
    own = best.signature.found
    others = [
        h for h, _ in shown[1:]
        if own is not None and (found := h.signature.found) is not None and h.entity != best.entity
        and h.strength >= STRONG and best.strength >= STRONG and h.mechanism.family != best.mechanism.family
        and found.onset.low < own.onset.high + NEAR_NS and own.onset.low < found.onset.high + NEAR_NS
    ]  # fmt: skip
    return {id(h): 1 for h in (best, *others)} if others else {}


def _possible(hypothesis: Hypothesis) -> bool:
    """Whether its signature was seen to move, may have moved unseen, or may hide in the noise of demand."""
    return hypothesis.signature.state in ("there", "unmeasured") or hypothesis.case.factor > HIDDEN


def entity_probability(ranked: Ranking, entity: str) -> float:
    """That the entity failed first, in whatever way."""
    return sum(probability for hypothesis, probability in ranked if hypothesis.entity == entity)


def equivalents(hypothesis: Hypothesis, ranked: Ranking) -> tuple[str, ...]:
    """Look-alikes that cannot be told from the hypothesis: they score alike on the same entity, or a signature is not
    measured."""
    best: Mapping[str, Hypothesis] = {other.mechanism.name: other for other, _ in reversed(ranked)}
    names = []
    for name in hypothesis.mechanism.look_alikes:
        other = best.get(name)
        if other is None or abs(other.score - hypothesis.score) >= ALIKE:
            continue
        blind = "unmeasured" in (other.signature.state, hypothesis.signature.state)
        if blind or (other.entity == hypothesis.entity and other.signature.state == "there"):
            names.append(name)
    return tuple(names)


def onset_of(scene: Scene, hypothesis: Hypothesis) -> Onset:
    """When it began."""
    found = hypothesis.signature.found
    if found is not None:
        return found.onset
    onsets = [reading.found.onset for reading in hypothesis.case.readings if reading.found is not None]
    start = Instant(scene.bins.at(scene.first))
    return min(onsets, key=lambda onset: (onset.low, onset.high)) if onsets else Onset(start, start)


def _evidence(scene: Scene, hypothesis: Hypothesis) -> tuple[Evidence, ...]:
    """One item for each move that is there, and for signatures that are measured and absent."""
    items = []
    for reading in hypothesis.case.readings:
        found = reading.found
        if reading.state == "there" and found is not None:
            claim = f"{found.entity}: {reading.move.why} ({meaning(found.signal.name)})"
            if reading.move.role == "contradiction":
                claim = f"against it: {claim}"
            items.append(scene.evidence(claim, found.signal.name, found.entity, found.first, found.last))
        elif reading.known and reading.move.role == "signature":
            claim = f"{hypothesis.entity}: not before the impact: {meaning(reading.move.signal)}"
            items.append(scene.evidence(claim, reading.move.signal, hypothesis.entity, *scene.lead_up))
    return tuple(items)
