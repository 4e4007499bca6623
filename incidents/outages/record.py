"""A public outage as data: its official marks with their sources, a sampled fleet, and one hypothesis for each explanation.

Nobody outside knows the cause. What a hypothesis was *given* (times that its scenario was handed) is told apart from what has
to *emerge*, and every claim says where it comes from: a claim without a source that can be checked is marked as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from collectors.errors import BadInput, nearest
from instrumented_engine.loading import put, read_toml, validated
from instrumented_engine.rooms import problems
from instrumented_engine.scenario import Scenario
from instrumented_engine.scenario.strict import Strict

RECORDS = Path(__file__).parent
State = Literal["outage", "degraded", "operational"]


class Mark(Strict):
    """An official state from ``at`` on. ``event``: it is compared, as the beginning (``down``) or end (``up``) of an outage;
    ``name``: what the comparison calls it."""

    at: datetime
    component: str
    state: State
    source: str
    name: str = ""
    event: Literal["", "down", "up"] = ""

    @field_validator("at")
    @classmethod
    def _with_zone(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("needs an offset from UTC, such as +08:00")
        return value


class Fix(Strict):
    """What operators are taken to do at the official mark ``source`` if ``component`` is not operational by then."""

    at_s: float = Field(ge=0)
    component: str
    source: str
    actions: tuple[dict[str, Any], ...]


class Hypothesis(Strict):
    """One explanation. ``standing``: how much is known of it; ``given``: the times that its scenario is handed, and ``handed``:
    the marks whose times these are, which therefore show nothing; ``free``: what we chose, which no public data fixes.
    ``set``: dotted keys of the fleet with other values."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    claim: str
    standing: Literal["post-mortem of the operator", "statement of the operator", "press", "inference", "unsourced"]
    source: str
    given: str
    free: str
    handed: tuple[str, ...] = ()
    set: dict[str, Any] = Field(default_factory=dict)
    actions: tuple[dict[str, Any], ...] = ()


class Outage(Strict):
    """A file of this folder. ``components``: cohorts by official component; ``scale``: what the fleet stands for;
    ``tolerance_min``: an event so near to a mark reproduces it; ``undecidable``: what public data cannot tell."""

    title: str
    about: str
    scale: str
    components: dict[str, tuple[str, ...]]
    tolerance_min: float = Field(gt=0)
    undecidable: tuple[str, ...]
    marks: tuple[Mark, ...]
    fixes: tuple[Fix, ...] = ()
    fleet: dict[str, Any]
    hypotheses: tuple[Hypothesis, ...]

    @property
    def start(self) -> datetime:
        """When the run begins."""
        return datetime.fromisoformat(self.fleet["start"])

    def seconds(self, mark: Mark) -> float:
        """When ``mark`` lies, in seconds of the run."""
        return (mark.at - self.start).total_seconds()

    def hypothesis(self, name: str) -> Hypothesis:
        """The one called ``name``. Raises BadInput with the nearest."""
        known = {one.name: one for one in self.hypotheses}
        if name not in known:
            raise BadInput(f"no hypothesis {name!r}; {nearest(name, sorted(known))}")
        return known[name]

    def scenario(
        self, hypothesis: Hypothesis, seed: int, fixes: tuple[Fix, ...] = (), until_s: float | None = None
    ) -> Scenario:
        """What is played, with the actions of ``fixes``, to ``until_s`` at most."""
        data = deepcopy(self.fleet)
        for key, value in hypothesis.set.items():
            put(data, key, value)
        actions = [dict(one) for one in (*hypothesis.actions, *(action for fix in fixes for action in fix.actions))]
        duration_s = min(float(data["duration_s"]), until_s or float(data["duration_s"]))
        kept = [one for one in actions if one["at_s"] < duration_s]
        for one in kept:
            if isinstance(one.get("until_s"), int | float) and one["until_s"] >= duration_s:
                one["until_s"] = "end"
        title = f"{self.title}: {hypothesis.name}"
        return Scenario.model_validate({**data, "title": title, "seed": seed, "duration_s": duration_s, "actions": kept})


def outages() -> list[str]:
    """The names of all records."""
    return sorted(path.stem for path in RECORDS.glob("*.toml"))


def load_outage(name: str) -> Outage:
    """The record ``name``. Raises BadInput for a name that does not exist, and for what cannot be."""
    path = RECORDS / f"{name}.toml"
    if not path.exists():
        raise BadInput(f"no public outage {name!r}; {nearest(name, outages())}")
    outage = validated(path, read_toml(path), Outage)
    if found := list(_problems(outage)):
        raise BadInput("\n".join(f"{path}: {problem}" for problem in found))
    return outage


def _problems(outage: Outage) -> Iterator[str]:
    for where, component in [*((f"marks.{i}", mark.component) for i, mark in enumerate(outage.marks)),
                             *((f"fixes.{i}", fix.component) for i, fix in enumerate(outage.fixes))]:  # fmt: skip
        if component not in outage.components:
            yield f"{where}.component = {component!r}: {nearest(component, sorted(outage.components))}"
    times = [mark.at for mark in outage.marks]
    if times != sorted(times):
        yield "marks: must be in the order of their times"
    for i, mark in enumerate(outage.marks):
        if mark.event and not (mark.name and 0 <= outage.seconds(mark) <= float(outage.fleet["duration_s"])):
            yield f"marks.{i}: is compared, so it needs a name and a time within the run"
    named = [mark.name for mark in outage.marks if mark.event]
    for hypothesis in outage.hypotheses:
        for name in set(hypothesis.handed) - set(named):
            yield f"hypotheses.{hypothesis.name}.handed = {name!r}: {nearest(name, named)}"
        scenario = outage.scenario(hypothesis, 1, outage.fixes)
        yield from (f"hypotheses.{hypothesis.name}: {problem}" for problem in problems(scenario))
        cohorts = {cohort.name for cohort in scenario.cohorts}
        for component, names in outage.components.items():
            for name in set(names) - cohorts:
                yield f"components.{component} = {name!r}: hypothesis {hypothesis.name} has no such cohort"
