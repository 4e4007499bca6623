"""Which explanations reproduce an outage's public marks: each is played, and what its users got is read as a status page.

Operators act at official marks and only if the component is not operational by then, so a run is played up to each of these
marks first. A mark is met by the nearest event of its kind, each event meeting one mark; an outage that meets none counts
against the explanation, and so does a component whose official states were others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from incidents.goodput import LAST_S, goodput_by
from incidents.outages.record import Fix, Hypothesis, Mark, Outage
from incidents.outages.states import WINDOW_S, Event, Stretch, events, stretches
from incidents.parallel import run_all


@dataclass(frozen=True, slots=True)
class Compared:
    """One explanation, one seed. ``off_min``: minutes from each compared mark to the event that meets it (None: there is
    none); ``extra``: beginnings of outages that meet none, in seconds of the run; ``calm``: by component that was officially
    operational throughout, whether it was; ``fixes``: how many times operators acted; ``reproduces``: None where no mark
    is compared."""

    hypothesis: str
    seed: int
    off_min: tuple[float | None, ...]
    extra: tuple[float, ...]
    calm: dict[str, bool]
    states: dict[str, list[Stretch]]
    fixes: int
    reproduces: bool | None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**asdict(self), "states": {name: [one._asdict() for one in found] for name, found in self.states.items()}}


def compare(
    outage: Outage, hypotheses: Sequence[Hypothesis], seeds: Sequence[int], *, jobs: int = 1,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> list[Compared]:
    """Play each of ``hypotheses`` once a seed, ``jobs`` at a time. Raises BadInput."""
    runs = {(one.name, seed): (outage, one, seed) for one in hypotheses for seed in seeds}
    done: dict[tuple[str, int], Compared] = {}

    def keep(key: tuple[str, int], result: Compared) -> None:
        done[key] = result
        on_done(len(done), len(runs))

    run_all(played, runs, jobs, keep)
    return [done[key] for key in runs]


def played(outage: Outage, hypothesis: Hypothesis, seed: int) -> Compared:
    """Play one explanation and hold it against the marks."""
    acted: tuple[Fix, ...] = ()
    for fix in outage.fixes:
        until_s = fix.at_s + LAST_S + WINDOW_S
        seen = _states(outage, hypothesis, seed, acted, until_s)[fix.component]
        if seen[-1].state != "operational":
            acted = (*acted, fix)
    states = _states(outage, hypothesis, seed, acted, None)
    return judged(outage, hypothesis.name, seed, states, len(acted))


def judged(outage: Outage, name: str, seed: int, states: dict[str, list[Stretch]], fixes: int) -> Compared:
    """Hold a run's ``states`` by component against the marks."""
    told = [mark for mark in outage.marks if mark.event]
    off: list[float | None] = [None] * len(told)
    extra: list[float] = []
    for component in {mark.component for mark in told}:
        own = [i for i, mark in enumerate(told) if mark.component == component]
        seen = events(states[component])
        met = _met([told[i] for i in own], seen, outage)
        for i, event in zip(own, met, strict=True):
            off[i] = None if event is None else (event.at_s - outage.seconds(told[i])) / 60
        extra += [event.at_s for event in seen if event.kind == "down" and event not in met]
    troubled = {mark.component for mark in outage.marks if mark.state != "operational"} if told else set(states)
    calm = {
        component: all(one.state == "operational" for one in found)
        for component, found in states.items() if component not in troubled
    }  # fmt: skip
    near = all(one is not None and abs(one) <= outage.tolerance_min for one in off)
    whole = near and not extra and all(calm.values()) if told else None
    return Compared(name, seed, tuple(off), tuple(extra), calm, states, fixes, whole)


def _met(marks: Sequence[Mark], seen: Sequence[Event], outage: Outage) -> list[Event | None]:
    """The event that meets each mark: nearest pairs first."""
    pairs = sorted(
        (abs(event.at_s - outage.seconds(mark)), i, j)
        for i, mark in enumerate(marks) for j, event in enumerate(seen) if event.kind == mark.event
    )  # fmt: skip
    found: list[Event | None] = [None] * len(marks)
    taken: set[int] = set()
    for _, i, j in pairs:
        if found[i] is None and j not in taken:
            found[i] = seen[j]
            taken.add(j)
    return found


def _states(
    outage: Outage, hypothesis: Hypothesis, seed: int, fixes: tuple[Fix, ...], until_s: float | None
) -> dict[str, list[Stretch]]:
    scenario = outage.scenario(hypothesis, seed, fixes, until_s)
    return {name: stretches(windows) for name, windows in goodput_by(scenario, outage.components).items()}
