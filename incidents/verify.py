"""Proof of an incident's labels by experiment: take one part away, change nothing else, look what users got.

Common random numbers: all experiments of a seed share it, and every stream of luck in the engine has a name of its own,
so that arrivals, lengths and cohorts are the same in all and a difference is the part's doing. A label holds when it does
for every seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from collectors.errors import BadInput
from incidents.goodput import WINDOW_S, Window, goodput, lost
from incidents.parallel import run_all
from incidents.truth import Impact, Late, Truth, Without
from instrumented_engine.loading import put
from instrumented_engine.rooms import check
from instrumented_engine.scenario import Scenario

WELL, DOWN = 0.9, 0.5
"""Shares of users served: at least ``WELL`` is health, less than ``DOWN`` an outage."""
SMALLER, SAME = 0.9, 0.05
"""Without an amplifier at most so large a part of the users is lost; without a decoy it differs by no more than that."""
_FEW = 3
"""Users who may be lost or not by the grain of a run."""
_SETTLED = 4
"""So many last windows show how a run ends."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the experiment for one label showed: by seed whether the label held, and in words what was seen."""

    label: str
    claim: str
    held: dict[int, bool]
    saw: dict[int, str]

    @property
    def holds(self) -> bool:
        """Whether it held for every seed."""
        return all(self.held.values())


def verify(
    scenario: Scenario,
    truth: Truth,
    seeds: Sequence[int],
    *,
    jobs: int = 1,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> list[Finding]:
    """Run every experiment for every seed, ``jobs`` at a time, and judge each label. ``on_done``: (done, of how many).

    Raises BadInput when a run outlasts its workload.
    """
    runs = {(name, seed): one for seed in seeds for name, one in experiments(scenario, truth, seed).items()}
    for one in runs.values():
        check(one)
    cohorts = truth.judged_cohorts(scenario)
    seen: dict[tuple[str, int], list[Window]] = {}

    def keep(key: tuple[str, int], windows: list[Window]) -> None:
        seen[key] = windows
        on_done(len(seen), len(runs))

    run_all(goodput, {key: (one, _judged(truth, key[0], cohorts)) for key, one in runs.items()}, jobs, keep)
    for (name, _), windows in seen.items():
        if not windows[-1].users:
            raise BadInput(f"{name}: nobody comes at {windows[-1].at_s:.0f} s, the workload is over by then, and how the run "
                           "ends shows nothing; give a shorter proof.duration_s")
    return [
        Finding(label, claim, {seed: held for seed, (held, _) in by_seed.items()}, {s: saw for s, (_, saw) in by_seed.items()})
        for label, claim, judge in _labels(truth)
        for by_seed in [{seed: judge({name: seen[name, seed] for name, s in seen if s == seed}) for seed in seeds}]
    ]


# -- the experiments -------------------------------------------------------------------------------------------------------


def experiments(scenario: Scenario, truth: Truth, seed: int) -> dict[str, Scenario]:
    """The runs that prove ``truth`` for one seed, by name."""

    def other(*withouts: Without, late: Iterable[Late] = ()) -> Scenario:
        return changed(scenario, seed, truth.proof.duration_s, (truth.proof.without, *withouts), late, truth.proof.late_s)

    undo = [trigger.undo for trigger in truth.triggers if trigger.undo is not None]
    runs = {"told": changed(scenario, seed, scenario.duration_s, (), (), 0.0), "uncured": other()}
    if undo:
        runs["undone"] = other(late=undo)
    if truth.initiator:
        runs["initiator"] = other(truth.initiator.without)
    runs |= {f"triggers.{i}": other(part.without) for i, part in enumerate(truth.triggers)}
    runs |= {f"amplifiers.{i}": other(part.without) for i, part in enumerate(truth.amplifiers)}
    runs |= {f"decoys.{i}": other(part.without) for i, part in enumerate(truth.decoys)}
    runs |= {f"saved.{i}": other() for i in range(len(truth.mitigations))}
    runs |= {f"mitigations.{i}": other(part.without) for i, part in enumerate(truth.mitigations)}
    return runs | {f"sustainers.{i}": other(late=[*undo, part.cut]) for i, part in enumerate(truth.sustainers)}


def _judged(truth: Truth, name: str, cohorts: Sequence[str]) -> Sequence[str]:
    """The cohorts whose users are asked about the run ``name``."""
    role, _, number = name.partition(".")
    return truth.mitigations[int(number)].cohorts if role in ("saved", "mitigations") else cohorts


def changed(
    scenario: Scenario, seed: int, duration_s: float, withouts: Iterable[Without], late: Iterable[Late], late_s: float
) -> Scenario:
    """``scenario`` with another seed and length, without some parts, and with interventions at ``late_s``."""
    data: dict[str, Any] = scenario.model_dump(mode="json", exclude_unset=True)
    gone: set[int] = set()
    for without in withouts:
        gone |= set(without.actions)
        for key, value in without.set.items():
            put(data, key, value)
    actions, more = data.get("actions", []), []
    for one in late:
        for number in one.end:
            until_s = actions[number]["until_s"]  # what is over by then has been undone already
            actions[number]["until_s"] = late_s if until_s == "end" else min(until_s, late_s)
        more += [done.at(late_s) for done in one.do]
    kept = [action for number, action in enumerate(actions) if number not in gone]
    data |= {"seed": seed, "duration_s": duration_s, "actions": [*kept, *more]}
    return Scenario.model_validate(data)


# -- the judgements --------------------------------------------------------------------------------------------------------

Seen = Mapping[str, list[Window]]
Judge = Callable[[Seen], tuple[bool, str]]


def _labels(truth: Truth) -> Iterator[tuple[str, str, Judge]]:
    """Each label of ``truth``: its name, what it claims, and its judge."""
    if truth.impact:
        earliest = truth.initiator.at_s if truth.initiator else truth.impact.outage_from_s[0]
        yield "impact", "it happens as told", partial(_as_told, truth.impact, earliest)
    else:
        yield "no impact", "nobody notices", partial(_well, "told")
    if truth.initiator:
        yield f"initiator {truth.initiator.kind}", "without it there is no outage", partial(_well, "initiator")
    for i, trigger in enumerate(truth.triggers):
        yield f"triggers.{i} {trigger.mechanism}", "without it there is no outage", partial(_well, f"triggers.{i}")
    for i, amplifier in enumerate(truth.amplifiers):
        yield f"amplifiers.{i} {amplifier.mechanism}", "without it fewer users are lost", partial(_smaller, f"amplifiers.{i}")
    if any(trigger.undo is not None for trigger in truth.triggers):
        if truth.sustainers:
            yield "sustained", "the trigger undone late, it stays down", partial(_stays_down, truth.proof.late_s)
        else:
            yield "not sustained", "the trigger undone late, it recovers", partial(_recovers, "undone")
    for i, sustainer in enumerate(truth.sustainers):
        name = f"sustainers.{i}"
        yield f"{name} {sustainer.mechanism}", "the loop cut as well, it recovers", partial(_recovers, name)
    for i, mitigation in enumerate(truth.mitigations):
        who = " and ".join(mitigation.cohorts)
        yield f"mitigations.{i} {mitigation.what}", f"with it {who} is served, without it is not", partial(_saved, i)
    for i, decoy in enumerate(truth.decoys):
        yield f"decoys.{i} {decoy.what}", "without it nothing changes", partial(_same, f"decoys.{i}")


def _saved(i: int, seen: Seen) -> tuple[bool, str]:
    least = [min(window.share for window in seen[f"{role}.{i}"]) for role in ("saved", "mitigations")]
    return least[0] >= WELL and least[1] < DOWN, f"least share served {least[0]:.2f} with it, {least[1]:.2f} without"


def _well(name: str, seen: Seen) -> tuple[bool, str]:
    least = min(window.share for window in seen[name])
    return least >= WELL, f"least share served {least:.2f}"


def _recovers(name: str, seen: Seen) -> tuple[bool, str]:
    least = min(window.share for window in seen[name][-_SETTLED:])
    return least >= WELL, f"least share served in the end {least:.2f}"


def _stays_down(late_s: float, seen: Seen) -> tuple[bool, str]:
    most = max(window.share for window in seen["undone"] if window.at_s >= late_s + 2 * WINDOW_S)
    return most < DOWN, f"largest share served after it {most:.2f}"


def _smaller(name: str, seen: Seen) -> tuple[bool, str]:
    before, after = lost(seen["uncured"]), lost(seen[name])
    return after <= SMALLER * before, f"{before} users lost with it, {after} without"


def _same(name: str, seen: Seen) -> tuple[bool, str]:
    before, after = lost(seen["uncured"]), lost(seen[name])
    return abs(after - before) <= max(SAME * before, _FEW), f"{before} users lost with it, {after} without"


def _as_told(impact: Impact, earliest_s: float, seen: Seen) -> tuple[bool, str]:
    """Healthy until ``earliest_s``, down from when ``impact`` says, and well again by when it says."""
    windows = seen["told"]
    down = [window.at_s for window in windows if window.share < DOWN]
    ill = [window.at_s for window in windows if window.share < WELL]
    if not down:
        return False, "no outage"
    begun, well_from = min(down), max(ill) + WINDOW_S
    if well_from > windows[-1].at_s:
        return False, f"down from {begun:.0f} s, ill to the end"
    held = (
        min(ill) >= earliest_s - WINDOW_S
        and impact.outage_from_s[0] - WINDOW_S <= begun <= impact.outage_from_s[1]
        and impact.recovered_by_s[0] - WINDOW_S <= well_from <= impact.recovered_by_s[1] + WINDOW_S
    )
    return held, f"ill from {min(ill):.0f} s, down from {begun:.0f} s, well from {well_from:.0f} s"
