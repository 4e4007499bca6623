"""What would have happened without what the analysis names: the same run with the same luck, one part taken away at a time.

A store that a replay made has ``scenario.lock.toml`` beside its tables, which no analysis reads. The scenario is played again
without the trigger that was named, without each amplifier, and with the loop cut once the trigger is over, for several seeds;
users are asked, not telemetry. Reported is the share of bad seconds (each window's length times its share of users not served)
that is avoided, with an interval over seeds and windows. Operators' cures are left out of all runs: without the outage they
would not have been.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from pydantic import ValidationError

from analysis.investigation import Investigation
from collectors.durable import replace_file
from collectors.errors import BadInput
from incidents.goodput import WINDOW_S, Window, goodput
from incidents.parallel import run_all
from incidents.truth import Without
from incidents.verify import changed
from instrumented_engine.loading import put
from instrumented_engine.scenario import Scenario

LOCK = "scenario.lock.toml"
RESAMPLES = 1_000
LONGER = 1.6
"""Times the told length that the runs last: fleets that were freed of a loop recover slowly."""
CURE = "load_shed"
"""Kind of the change log's entries for what operators did against it."""
_PARTS_OF: Mapping[str, tuple[str, ...]] = {
    "replica": ("replica", "gpu", "rank", "experts", "scheduler", "kv_pool", "stream", "speculation"),
    "pool": ("pool", "autoscaler", "rollout", "liveness", "control_plane"),
    "gateway": ("gateway", "admission", "tier"),
    "region": ("region", "link"),
}
"""Kinds of parts whose names begin with the entity's own."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One part taken away: its role, what it is, how it was taken away, and the share of bad seconds avoided (mean, low,
    high); None where nothing in the scenario answers to it."""

    role: str
    entity: str
    mechanism: str
    how: str
    avoided: tuple[float, float, float] | None


def write_lock(store: Path, scenario: Scenario) -> None:
    """Leave the scenario beside the tables of ``store``."""
    text = tomli_w.dumps(scenario.model_dump(mode="json", exclude_unset=True, exclude_none=True))
    replace_file(store / LOCK, text.encode())


def read_lock(store: Path) -> Scenario:
    """The scenario that made ``store``. Raises BadInput for a store from outside."""
    path = store / LOCK
    if not path.is_file():
        raise BadInput(f"{store}: has no {LOCK}, so it was not made by flashover replay; only a scenario can be played again "
                       "without its trigger, what happened in the world cannot")
    try:
        return Scenario.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise BadInput(f"{path}: is no scenario any more ({error}); replay it again") from error


def counterfactual(
    scenario: Scenario, answer: Investigation, seeds: Sequence[int], *, jobs: int = 1,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> list[Effect]:
    """Play the scenario without each part that ``answer`` names. ``on_done``: (done, of how many). Raises BadInput when
    nothing is named."""
    parts = _named(answer)
    if not parts:
        raise BadInput("the analysis names no trigger and no loop, so there is nothing to take away")
    uncured = Without(actions=[i for i, action in enumerate(scenario.actions) if action.log_kind == CURE])
    plain = changed(scenario, scenario.seed, round(scenario.duration_s * LONGER), (uncured,), (), 0.0)
    late_s = _over_s(plain, scenario.duration_s)
    plans = {" ".join(part): _changed(plain, *part, late_s) for part in parts}
    names = ["", *(name for name, plan in plans.items() if plan is not None)]
    cohorts = [cohort.name for cohort in scenario.cohorts]
    todo = {
        (name, seed): (_seeded(plain if name == "" else plans[name][0], seed), cohorts)  # type: ignore[index]
        for name in names for seed in seeds
    }  # fmt: skip
    seen: dict[tuple[str, int], list[Window]] = {}

    def keep(key: tuple[str, int], windows: list[Window]) -> None:
        seen[key] = windows
        on_done(len(seen), len(todo))

    run_all(goodput, todo, jobs, keep)
    base = [seen["", seed] for seed in seeds]
    return [
        Effect(*part, *_told(plans[" ".join(part)], base, seen, " ".join(part), seeds)) for part in parts
    ]


def _named(answer: Investigation) -> list[tuple[str, str, str]]:
    parts = [] if answer.abstained else [("trigger", one.entity, one.mechanism) for one in answer.triggers[:1]]
    parts += [("amplifier", loop.entity, loop.mechanism) for loop in answer.amplifiers]
    return parts + [("sustainer", loop.entity, loop.mechanism) for loop in answer.sustainers]


Plan = tuple[Scenario, str]


def _changed(scenario: Scenario, role: str, entity: str, mechanism: str, late_s: float) -> Plan | None:
    """The scenario without the part and how that was done; None where nothing in it answers to the part."""
    cure = cures().get(mechanism)
    if cure is None:
        return None
    data = scenario.model_dump(mode="json", exclude_unset=True)
    if role == "sustainer":
        done = [
            {**one, "at_s": late_s, "target": _target(one["target"], entity), **_until(one)} for one in cure.get("loop", [])
        ]
        if not done:
            return None
        data["actions"] = [*data.get("actions", []), *done]
        return Scenario.model_validate(data), f"cut at {late_s:.0f} s, when the trigger is over"
    gone = {i for i, action in enumerate(data.get("actions", [])) if _touches(action, entity, cure)}
    how = [f"without {len(gone)} of its actions"] if gone else []
    data["actions"] = [action for i, action in enumerate(data.get("actions", [])) if i not in gone]
    if cure.get("retries"):
        for i in range(len(scenario.cohorts)):
            put(data, f"cohorts.{i}.max_retries", 0)
        how.append("nobody retries")
    if not gone:
        for key, value in cure.get("set", {}).items():
            put(data, key, value)
            how.append(f"{key} = {value}")
    return (Scenario.model_validate(data), ", ".join(how)) if how else None


def _touches(action: Mapping[str, Any], entity: str, cure: Mapping[str, Any]) -> bool:
    kind, _, name = str(action["target"]).partition(":")
    own_kind, _, own = entity.partition(":")
    factors = cure.get("factors")
    if factors is not None:
        return kind == "cohort" and (action.get("key") in factors or action["do"] in factors)
    if action.get("key") in cure.get("keys", ()):
        return True
    if kind in cure.get("targets", ()):
        return True
    same = name == own or name.split(".")[0] == own or name.startswith(f"{own}-")
    return action["do"] != "note" and kind in _PARTS_OF.get(own_kind, (own_kind,)) and (same or own_kind == "pool")


def _target(target: str, entity: str) -> str:
    return entity if ":" not in target and target == entity.partition(":")[0] else target


def _until(action: Mapping[str, Any]) -> dict[str, Any]:
    return {"until_s": "end"} if action["do"] == "set" else {}


def cures() -> Mapping[str, Mapping[str, Any]]:
    """What takes each mechanism away."""
    path = Path(str(resources.files("incidents"))) / "cures.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _over_s(scenario: Scenario, told_s: float) -> float:
    """When the last action that ends is over, at most two thirds into the run, so that a recovery can be seen."""
    ends = [action.until_s for action in scenario.actions if isinstance(action.until_s, (int, float))]
    return min(max([*ends, 0.0]) or told_s / 2, told_s * 2 / 3)


def _seeded(scenario: Scenario, seed: int) -> Scenario:
    return scenario.model_copy(update={"seed": seed})


def _told(
    plan: Plan | None, base: Sequence[Sequence[Window]], seen: Mapping[tuple[str, int], Sequence[Window]], name: str,
    seeds: Sequence[int],
) -> tuple[str, tuple[float, float, float] | None]:
    if plan is None:
        return "nothing in the scenario answers to it", None
    return plan[1], avoided(base, [seen[name, seed] for seed in seeds])


def avoided(base: Sequence[Sequence[Window]], other: Sequence[Sequence[Window]]) -> tuple[float, float, float]:
    """Share of bad seconds avoided, and its 95 % interval from resampled seeds and windows (both runs of a pair share them)."""
    before, after = (np.array([[1.0 - one.share for one in windows] for windows in runs]) * WINDOW_S for runs in (base, other))

    def share(bad: float, left: float) -> float:
        return (bad - left) / bad if bad > 0 else 0.0

    luck = np.random.default_rng(1)
    draws = []
    for _ in range(RESAMPLES):
        rows, columns = luck.integers(0, before.shape[0], before.shape[0]), luck.integers(0, before.shape[1], before.shape[1])
        draws.append(share(float(before[rows][:, columns].sum()), float(after[rows][:, columns].sum())))
    low, high = np.percentile(draws, (2.5, 97.5)).tolist()
    return share(float(before.sum()), float(after.sum())), low, high
