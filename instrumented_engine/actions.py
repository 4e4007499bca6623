"""Timed actions: switches on mechanisms, and operations of the fleet. None of them sets an outcome.

An action is carried out on the live part that its target names. What the operator's change log holds of it (``log``) is
told to the observer; an action without ``log`` happens unlogged, as hardware faults do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Mechanism
from instrumented_engine.scenario import Action, Scenario

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster


def action_problems(scenario: Scenario, mechanisms: Sequence[Mechanism], entities: Sequence[str]) -> Iterator[str]:
    """What is wrong with the scenario's actions, one line each: the action, the key, the value, and what is valid."""
    switches = {(switch.kind, switch.key): switch for mechanism in mechanisms for switch in mechanism.switches}
    operations = {(op.kind, op.name) for mechanism in mechanisms for op in mechanism.operations}
    kinds = {kind for kind, _ in [*switches, *operations]}
    for number, action in enumerate(scenario.actions):
        where = f"actions.{number} (at_s = {action.at_s:g})"
        kind = action.target.partition(":")[0]
        if action.at_s > scenario.duration_s:
            yield f"{where}: lies after the end of the run (duration_s = {scenario.duration_s:g}); give an earlier time"
        if action.do == "note":
            continue
        if kind not in kinds:
            yield f"{where}: target = {action.target!r} has no switches; kinds that have: {', '.join(sorted(kinds))}"
        elif action.target not in entities:
            yield f"{where}: target = {action.target!r} does not exist; {_nearest(action.target, entities)}"
        elif action.do != "set":
            known = ["set", "note", *sorted(name for owner, name in operations if owner == kind)]
            if action.do not in known:
                yield f"{where}: do = {action.do!r} is nothing that {kind} can do; valid: {', '.join(known)}"
        elif (kind, action.key) not in switches:
            known = sorted(key for owner, key in switches if owner == kind)
            yield f"{where}: key = {action.key!r} is no switch of {kind}; there are: {', '.join(known)}"
        elif action.value is None:
            yield f"{where}: value is missing; give what {action.key} shall be"
        else:
            if problem := switches[kind, action.key].problem(action.value):
                yield f"{where}: {action.key} = {action.value!r} {problem}"
            yield from _span_problems(scenario, action, where)
    yield from _overlaps(scenario)


def _nearest(target: str, entities: Sequence[str]) -> str:
    kind = target.partition(":")[0]
    same = [entity for entity in entities if entity.partition(":")[0] == kind]
    near = difflib.get_close_matches(target, same, n=1)
    listed = ", ".join(same[:12]) + (", ..." if len(same) > 12 else "")
    return f"did you mean {near[0]!r}? there are: {listed}" if near else f"there are: {listed or 'none in this scenario'}"


def _span_problems(scenario: Scenario, action: Action, where: str) -> Iterator[str]:
    if action.until_s is None:
        yield f"{where}: until_s is missing, the fault would never end; give seconds, or until_s = \"end\" if that is meant"
    elif action.until_s != "end":
        if action.until_s <= action.at_s:
            yield f"{where}: until_s = {action.until_s:g} is not after at_s; give a later time"
        elif action.until_s > scenario.duration_s:
            yield (f"{where}: until_s = {action.until_s:g} lies after the end of the run (duration_s = "
                   f"{scenario.duration_s:g}); give an earlier time, or until_s = \"end\"")


def _overlaps(scenario: Scenario) -> Iterator[str]:
    """Two ``set`` of one key at one time: which value would hold, and which comes back, nobody could say."""
    last: dict[tuple[str, str], tuple[int, float]] = {}
    order = sorted((action.at_s, number) for number, action in enumerate(scenario.actions) if action.do == "set")
    for at_s, number in order:
        action = scenario.actions[number]
        until = scenario.duration_s if not isinstance(action.until_s, (int, float)) else action.until_s
        other, ends = last.get((action.target, action.key), (-1, 0.0))
        if other >= 0 and at_s < ends:
            yield (f"actions.{number} (at_s = {at_s:g}): overlaps actions.{other}, which sets {action.key} of "
                   f"{action.target} until {ends:g}; let one end before the other begins")
        last[action.target, action.key] = (number, max(until, ends))


async def perform_all(cluster: Cluster, actions: Sequence[Action]) -> None:
    """Carry out ``actions`` at their times."""
    for action in actions:
        cluster.spawn(_perform(cluster, action))


async def _perform(cluster: Cluster, action: Action) -> None:
    warm_up_s = cluster.scenario.warm_up_s
    await cluster.loop.sleep_until_ns(round((warm_up_s + action.at_s) * 1e9))
    if action.log:
        cluster.tell(action.log_kind, action.target, action.log)
    if action.do == "note":
        return
    part = cluster.parts[action.target]
    if action.do != "set":
        getattr(part, action.do)()
        return
    before = getattr(part, action.key)
    setattr(part, action.key, action.value)
    if isinstance(action.until_s, (int, float)):
        await cluster.loop.sleep_until_ns(round((warm_up_s + action.until_s) * 1e9))
        setattr(part, action.key, before)
        if action.log_until:
            cluster.tell(action.log_kind, action.target, action.log_until)
