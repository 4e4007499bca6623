"""What was tested and does not hold, with the measurement that rules it out.

Only what could be measured can be ruled out: a mechanism whose signature the telemetry does not hold is not in this list
(``coverage.missing`` names its signals).
"""

from __future__ import annotations

from analysis.demand import take_apart
from analysis.investigation import Evidence, Rejection
from analysis.posterior import Hypothesis
from analysis.scene import Scene
from analysis.signal_catalogue import meaning
from collectors.clock import iso

BARELY = 0.5
"""Strength of a demand's signature below which it did not move enough."""
UNLIKELY = 0.1
"""Hypotheses below this probability are ruled out."""


def rule_out(scene: Scene, ranked: list[tuple[Hypothesis, float]]) -> tuple[Rejection, ...]:
    """One rejection per mechanism, for the entity it fits best; the trigger's own mechanism on other entities is none."""
    rejected: dict[str, Rejection] = {}
    probable = {hypothesis.mechanism.name for hypothesis, probability in ranked if probability >= UNLIKELY}
    for hypothesis, _ in ranked:
        name = hypothesis.mechanism.hypothesis
        if hypothesis.mechanism.name in probable or name in rejected or not hypothesis.signature.known:
            continue
        rejected[name] = Rejection(name, _why(scene, hypothesis), _evidence(scene, hypothesis))
    return tuple(rejected[name] for name in sorted(rejected))


def _why(scene: Scene, hypothesis: Hypothesis) -> str:
    reading = hypothesis.signature
    what = meaning(reading.move.signal)
    if reading.state == "late" and reading.found is not None:
        later = (reading.found.onset.low - scene.bins.at(scene.first)) / 1e9
        return (f"{what} on {hypothesis.entity} moved only at {iso(reading.found.onset.low)}, {later:.0f} s after users were "
                "hit: a consequence")
    if hypothesis.mechanism.family == "demand" and hypothesis.strength < BARELY:
        return f"{what} did not move enough before users were hit: {take_apart(scene, *scene.lead_up).text()}"
    if reading.state == "there":
        against = [r for r in hypothesis.case.readings if r.move.role == "contradiction" and r.state == "there"]
        reason = f": {against[0].move.why}" if against else ", and explains less than what is ranked first"
        return f"{what} on {hypothesis.entity} moved{reason}"
    if reading.move.versus == "peers":
        return f"{what} set none apart from its peers until users were hit (nearest to it: {hypothesis.entity})"
    return f"{what} did not move enough before users were hit (nearest to it: {hypothesis.entity})"


def _evidence(scene: Scene, hypothesis: Hypothesis) -> tuple[Evidence, ...]:
    reading = hypothesis.signature
    span = scene.lead_up
    if reading.found is not None and reading.state == "there":
        span = (reading.found.first, reading.found.last)
    signal = reading.found.signal.name if reading.found is not None else reading.move.signal
    claim = f"{hypothesis.entity}: {meaning(signal)}, until users were hit"
    return (scene.evidence(claim, signal, hypothesis.entity, *span),)
