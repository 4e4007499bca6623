"""What was tested and does not hold, with the measurement that rules it out.

Only what could be measured can be ruled out: a mechanism whose signature the telemetry does not hold is not in this list
(``coverage.missing`` names its signals).
"""

from __future__ import annotations

import math

from analysis.demand import take_apart
from analysis.investigation import Evidence, Rejection, iso
from analysis.scene import Scene, meaning
from analysis.triggers import Hypothesis

UNLIKELY = 0.1
"""Hypotheses below this probability are ruled out."""


def rule_out(scene: Scene, ranked: list[tuple[Hypothesis, float]]) -> tuple[Rejection, ...]:
    """One rejection per mechanism, for the entity it fits best; the trigger's own mechanism on other entities is none."""
    rejected: dict[str, Rejection] = {}
    probable = {hypothesis.mechanism.name for hypothesis, probability in ranked if probability >= UNLIKELY}
    for hypothesis, _ in ranked:
        name = hypothesis.mechanism.hypothesis
        if hypothesis.mechanism.name in probable or name in rejected or math.isnan(hypothesis.signature.strength):
            continue
        rejected[name] = Rejection(name, _why(scene, hypothesis), _evidence(scene, hypothesis))
    return tuple(rejected[name] for name in sorted(rejected))


def _why(scene: Scene, hypothesis: Hypothesis) -> str:
    reading = hypothesis.signature
    signal = reading.move.signal
    if hypothesis.mechanism.family == "demand" and not reading.late and reading.strength == 0:
        terms = take_apart(scene, scene.healthy.last, scene.horizon)
        return f"{meaning(signal)} did not move enough before the impact: {terms.text()}"
    if reading.late and reading.found is not None:
        later = (reading.found.onset.low - scene.bins.at(scene.first)) / 1e9
        return (f"{meaning(signal)} on {hypothesis.entity} moved only at {iso(reading.found.onset.low)}, {later:.0f} s after "
                "users were hit: a consequence")
    if reading.strength > 0:
        against = [r for r in hypothesis.readings if r.move.role == "contradiction" and r.strength > 0]
        reason = f": {against[0].move.why}" if against else ", and explains less than the trigger does"
        return f"{meaning(signal)} on {hypothesis.entity} moved{reason}"
    if reading.move.versus == "peers":
        return f"{meaning(signal)} set none apart from its peers until users were hit (nearest to it: {hypothesis.entity})"
    return f"{meaning(signal)} stayed as it was until users were hit (nearest to it: {hypothesis.entity})"


def _evidence(scene: Scene, hypothesis: Hypothesis) -> tuple[Evidence, ...]:
    reading = hypothesis.signature
    first, last = scene.healthy.last, scene.horizon
    if reading.found is not None and not reading.late:
        first, last = reading.found.first, reading.found.last
    first = min(first, last - 1)
    claim = f"{hypothesis.entity}: {meaning(reading.move.signal)}, until users were hit"
    return (scene.evidence(claim, reading.move.signal, hypothesis.entity, first, last),)
