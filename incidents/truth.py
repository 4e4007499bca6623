"""What really happened in an incident, and how to prove it: ``truth.toml``, for scoring and ``flashover verify`` alone.

Each role says how to take its part away, since a label that no experiment bears out is an opinion: ``without`` from the
start, ``undo`` or ``cut`` late in the run. Roles as in Google's metastable-failure work: the *trigger* is the first
mechanism that failed, an *amplifier* makes it larger, a *sustainer* keeps the service down when the trigger has gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from collectors.errors import BadInput, nearest
from incidents.vocabulary import mechanism_names
from instrumented_engine.loading import read_toml, validated
from instrumented_engine.rooms import entities
from instrumented_engine.scenario import Scenario
from instrumented_engine.scenario.strict import Strict


class Without(Strict):
    """A part taken away from the start: ``actions`` of the scenario left out, by number from 0; ``set``: dotted keys of the
    scenario with other values, as for ``flashover replay --set``."""

    actions: tuple[int, ...] = ()
    set: dict[str, Any] = Field(default_factory=dict)


class Intervention(Strict):
    """Something done to the fleet late in a run, as an action of a scenario; what it sets stays set."""

    do: str
    target: str
    key: str = ""
    value: float | bool | int | str | None = None

    def at(self, at_s: float) -> dict[str, Any]:
        """The action."""
        return {**self.model_dump(), "at_s": at_s, "until_s": "end" if self.do == "set" else None}


class Late(Strict):
    """What is done late: ``end`` ends actions of the scenario, by number from 0, ``do`` does something more."""

    end: tuple[int, ...] = ()
    do: tuple[Intervention, ...] = ()


class Initiator(Strict):
    """The change or demand event that began it."""

    kind: str
    entity: str
    at_s: float = Field(ge=0)
    without: Without


class Trigger(Strict):
    """The first component and mechanism that failed, at some time within ``onset_s``. ``also``: components that it was done to
    alike, so that naming any of them is right. ``undo``: what takes it away late."""

    entity: str
    also: tuple[str, ...] = ()
    mechanism: str
    onset_s: tuple[float, float]
    without: Without
    undo: Late | None = None


class Amplifier(Strict):
    """What made it larger."""

    mechanism: str
    entity: str = ""
    without: Without


class Sustainer(Strict):
    """A loop that kept it down after its trigger had gone. ``cut``: what breaks the loop late."""

    mechanism: str
    cohorts: tuple[str, ...] = ()
    cut: Late


class Decoy(Strict):
    """Something that changed and had no part in it."""

    what: str
    without: Without


class Mitigation(Strict):
    """Something the operators did that saved ``cohorts``: without it they are down as well."""

    what: str
    cohorts: tuple[str, ...]
    without: Without


class Impact(Strict):
    """What the users of ``cohorts`` saw: when it began, and by when it was over."""

    outage_from_s: tuple[float, float]
    recovered_by_s: tuple[float, float]
    cohorts: tuple[str, ...]


class Proof(Strict):
    """The experiments: ``without`` is left out of all of them (the operator's cure, which would hide what follows), late
    interventions come at ``late_s``, and runs last ``duration_s``."""

    late_s: float = Field(gt=0)
    duration_s: float = Field(gt=0)
    without: Without = Without()


class Truth(Strict):
    """A ``truth.toml``. Without ``impact``: users noticed nothing, and nothing but decoys has a part in that."""

    initiator: Initiator | None = None
    triggers: tuple[Trigger, ...] = ()
    amplifiers: tuple[Amplifier, ...] = ()
    sustainers: tuple[Sustainer, ...] = ()
    decoys: tuple[Decoy, ...] = ()
    mitigations: tuple[Mitigation, ...] = ()
    impact: Impact | None = None
    proof: Proof

    def judged_cohorts(self, scenario: Scenario) -> tuple[str, ...]:
        """Whose users say whether it was an outage: all where nobody is named."""
        return self.impact.cohorts if self.impact else tuple(cohort.name for cohort in scenario.cohorts)

    def withouts(self) -> Iterator[tuple[str, Without]]:
        """Every ``without``, with its place in the file."""
        yield "proof", self.proof.without
        if self.initiator:
            yield "initiator", self.initiator.without
        for role in ("triggers", "amplifiers", "decoys", "mitigations"):
            for number, part in enumerate(getattr(self, role)):
                yield f"{role}.{number}", part.without


def load_truth(path: Path, scenario: Scenario) -> Truth:
    """Read ``path``, the truth of ``scenario``. Raises BadInput that names the file, the key, the value and the fix."""
    truth = validated(path, read_toml(path), Truth)
    if found := list(truth_problems(truth, scenario)):
        raise BadInput("\n".join(f"{path}: {problem}" for problem in found))
    return truth


def truth_problems(truth: Truth, scenario: Scenario) -> Iterator[str]:
    """What cannot be true of ``scenario``, one line each."""
    known = entities(scenario)
    named = [("initiator.entity", truth.initiator.entity)] if truth.initiator else []
    named += [(f"triggers.{i}.entity", trigger.entity) for i, trigger in enumerate(truth.triggers)]
    named += [(f"triggers.{i}.also", entity) for i, trigger in enumerate(truth.triggers) for entity in trigger.also]
    named += [(f"amplifiers.{i}.entity", part.entity) for i, part in enumerate(truth.amplifiers) if part.entity]
    for where, entity in named:
        if entity not in known:
            yield f"{where} = {entity!r}: does not exist in this scenario; {nearest(entity, sorted(known))}"
    mechanisms = mechanism_names()
    for role in ("triggers", "amplifiers", "sustainers"):
        for i, part in enumerate(getattr(truth, role)):
            if part.mechanism not in mechanisms:
                yield f"{role}.{i}.mechanism = {part.mechanism!r}: no mechanism; {nearest(part.mechanism, mechanisms)}"
    for where, without in truth.withouts():
        for number in without.actions:
            if not 0 <= number < len(scenario.actions):
                yield f"{where}.without.actions: there is no action {number}; the scenario has {len(scenario.actions)}, from 0"
    late = [(f"triggers.{i}.undo", trigger.undo) for i, trigger in enumerate(truth.triggers) if trigger.undo]
    late += [(f"sustainers.{i}.cut", part.cut) for i, part in enumerate(truth.sustainers)]
    for where, number in ((where, number) for where, one in late for number in one.end):
        if not (0 <= number < len(scenario.actions) and scenario.actions[number].do == "set"):
            yield f"{where}.end: action {number} is none that sets something for a time; give the number of one, from 0"
        elif scenario.actions[number].at_s >= truth.proof.late_s:
            yield f"{where}.end: action {number} has not begun at proof.late_s = {truth.proof.late_s:g}; give a later time"
    cohorts = sorted(cohort.name for cohort in scenario.cohorts)
    judged = truth.impact.cohorts if truth.impact else ()
    saved: tuple[Sustainer | Mitigation, ...] = (*truth.sustainers, *truth.mitigations)
    for name in (*judged, *(name for part in saved for name in part.cohorts)):
        if name not in cohorts:
            yield f"cohorts: {name!r} does not exist in this scenario; {nearest(name, cohorts)}"
    yield from _times(truth, scenario)


def _times(truth: Truth, scenario: Scenario) -> Iterator[str]:
    spans = [(f"triggers.{i}.onset_s", trigger.onset_s) for i, trigger in enumerate(truth.triggers)]
    if truth.impact:
        spans += [(f"impact.{key}", getattr(truth.impact, key)) for key in ("outage_from_s", "recovered_by_s")]
    elif truth.initiator or truth.triggers or truth.amplifiers or truth.sustainers:
        yield "impact: is missing, yet there are roles; say what users saw, or keep decoys alone"
    for where, (low, high) in spans:
        if not 0 <= low <= high <= scenario.duration_s:
            yield f"{where} = [{low:g}, {high:g}]: must rise and lie within the run, 0 to {scenario.duration_s:g}"
    if truth.initiator and truth.initiator.at_s > scenario.duration_s:
        yield f"initiator.at_s = {truth.initiator.at_s:g}: lies after the end of the run ({scenario.duration_s:g})"
    if truth.proof.late_s >= truth.proof.duration_s:
        yield f"proof.late_s = {truth.proof.late_s:g}: must lie before proof.duration_s = {truth.proof.duration_s:g}"
