"""Timed actions: switches on mechanisms, and routine operations. None of them sets an outcome.

An action is carried out on the live part that its target names. What the operator's change log holds of it (``log``) is
told to the observer; an action without ``log`` happens unlogged, as hardware faults do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from collectors.errors import BadInput
from instrumented_engine.scenario import Action, Scenario

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

SWITCHES = {
    "replica": ("speed", "cancel_on_disconnect"),
    "kv_index": ("writer_ops_per_s", "route_by"),
    "gateway": ("shed_share",),
    "clients": ("retries_on",),
}
"""What ``do = "set"`` may touch, by kind of target."""


def check_actions(scenario: Scenario) -> None:
    """Raise BadInput naming the action, the bad target or key, and what is valid."""
    for number, action in enumerate(scenario.actions):
        where = f"actions.{number} (at_s = {action.at_s:g})"
        kind, _, name = action.target.partition(":")
        if action.do in ("rebalance", "undo_rebalance") and kind != "kv_index":
            raise BadInput(f"{where}: do = {action.do!r} needs target = 'kv_index:{scenario.names.kv_index}'")
        if action.do != "set":
            continue
        if kind not in SWITCHES:
            raise BadInput(f"{where}: target = {action.target!r} has no switches; kinds that have: {', '.join(SWITCHES)}")
        if action.key not in SWITCHES[kind]:
            raise BadInput(f"{where}: key = {action.key!r} is no switch of {kind}; there are: {', '.join(SWITCHES[kind])}")
        if action.value is None:
            raise BadInput(f"{where}: value is missing")
        if kind == "replica":
            replica_number(scenario, name)


def replica_number(scenario: Scenario, name: str) -> int:
    """The number of the replica called ``name``; raises BadInput listing the names."""
    names = [f"{scenario.names.replica}{number}" for number in range(scenario.cluster.replicas)]
    if name not in names:
        raise BadInput(f"there is no replica {name!r}; there are: {', '.join(names)}")
    return names.index(name)


async def perform_all(cluster: Cluster, actions: Sequence[Action]) -> None:
    """Carry out ``actions`` at their times."""
    for action in actions:
        cluster.loop.create_task(_perform(cluster, action))


async def _perform(cluster: Cluster, action: Action) -> None:
    warm_up_s = cluster.scenario.warm_up_s
    await cluster.loop.sleep_until_ns(round((warm_up_s + action.at_s) * 1e9))
    if action.log:
        cluster.observer.on_action(action.log_kind, action.target, action.log, cluster.loop.now_ns)
    if action.do == "rebalance":
        cluster.index.rebalance()
    elif action.do == "undo_rebalance":
        cluster.index.undo_rebalance()
    elif action.do == "set":
        part = _part(cluster, action.target)
        before = getattr(part, action.key)
        setattr(part, action.key, action.value)
        if action.until_s is not None:
            await cluster.loop.sleep_until_ns(round((warm_up_s + action.until_s) * 1e9))
            setattr(part, action.key, before)
            if action.log_until:
                cluster.observer.on_action(action.log_kind, action.target, action.log_until, cluster.loop.now_ns)


def _part(cluster: Cluster, target: str) -> Any:
    kind, _, name = target.partition(":")
    if kind == "replica":
        return cluster.engines[replica_number(cluster.scenario, name)]
    return {"kv_index": cluster.index, "gateway": cluster.gateway, "clients": cluster.clients}[kind]
