"""One case from end to end: replay, ask the users, investigate, let the baselines try; one JSON object."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.investigate import investigate
from analysis.investigation import Investigation
from collectors.intake import Intake
from collectors.store import Store
from incidents.benchmark.baselines import BASELINES
from incidents.benchmark.blemishes import BLEMISHES, Blemish
from incidents.benchmark.cases import Case
from incidents.benchmark.observed import observe
from incidents.families.registry import checked, drafted
from incidents.goodput import Users, Window
from incidents.replay import DrainingSink, play
from incidents.truth import Truth
from incidents.verify import DOWN, WELL, changed
from instrumented_engine.rooms import entities
from instrumented_engine.scenario import Scenario

OURS = "Flashover"
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Judged:
    """A case that was played: its ``store``, its ``state`` by what users saw (``outage``; ``healthy``, where nearly all were
    served by their first attempt; or ``degraded`` in between, which is neither and is not scored), what is true of it, and when
    somebody noticed, ns UTC."""

    store: Path
    state: str
    told: dict[str, Any]
    start_ns: int
    alarm_ns: int


def judged(case: Case, blemish: Blemish, folder: Path) -> Judged:
    """Play ``case`` into a store in ``folder`` and ask its users."""
    scenario, truth = checked(drafted(case.family, case.severity, case.topology, case.seed, case.decoys))
    store = folder / "as told"
    windows = _played(scenario, truth, blemish, store)
    cures = [scenario.actions[number].at_s for number in truth.proof.without.actions]
    if cures and not any(window.share < WELL and window.at_s < min(cures) for window in windows):
        # No operator turns users away while all is well.
        scenario = changed(scenario, case.seed, scenario.duration_s, (truth.proof.without,), (), 0.0)
        store = folder / "left alone"
        windows = _played(scenario, truth, blemish, store)
    least = min(window.share for window in windows)
    at_once = min(window.share_at_once for window in windows)
    state = "outage" if least < DOWN else "healthy" if at_once >= WELL else "degraded"
    ill = [window.at_s for window in windows if window.share < WELL]
    alarm_s = ill[0] if ill else scenario.duration_s * 2 / 3
    alarm_ns = scenario.start_ns + round((alarm_s + blemish.late_s) * 1e9)
    return Judged(store, state, _told(truth, windows), scenario.start_ns, alarm_ns)


def outcome(case: Case) -> dict[str, Any]:
    """Everything about ``case`` that scoring needs."""
    with tempfile.TemporaryDirectory() as folder:
        played = judged(case, BLEMISHES[case.blemish], Path(folder))
        with Store.open(played.store) as tables:
            began = time.process_time()
            answer = investigate(tables)
            took = time.process_time() - began
            seen = observe(tables, played.alarm_ns)
            methods = {}
            for name, baseline in BASELINES.items():
                began = time.process_time()
                ranking = alike_as_one(baseline(seen), played.told)
                methods[name] = {"ranking": ranking[:_SHOWN], "cpu_s": time.process_time() - began}
    methods[OURS] = {"ranking": alike_as_one(suspects(answer), played.told), "cpu_s": took}
    return {
        **case.as_dict(), "state": played.state, "truth": played.told, "entities": list(seen.entities), "methods": methods,
        "answer": _answered(answer, played.start_ns),
    }  # fmt: skip


def culprits(told: dict[str, Any]) -> frozenset[str]:
    """The entities that are right to name."""
    return frozenset(told["entities"]).union(*told["also"])


def alike_as_one(ranking: Sequence[tuple[str, float]], told: dict[str, Any]) -> list[tuple[str, float]]:
    """The ranking, the best of what a trigger was done to alike standing for all of it."""
    known = {name: entity for entity, also in zip(told["entities"], told["also"], strict=True) for name in also}
    best: dict[str, float] = {}
    for name, score in ranking:
        best.setdefault(known.get(name, name), score)
    return list(best.items())


def suspects(answer: Investigation) -> list[tuple[str, float]]:
    """The entities of the incident proper, each with the probability that it failed first, in whatever way."""
    sure: dict[str, float] = {}
    for one in answer.triggers:
        if one.episode == answer.triggers[0].episode:
            sure[one.entity] = sure.get(one.entity, 0.0) + one.probability
    return sorted(sure.items(), key=lambda pair: -pair[1])


def _played(scenario: Scenario, truth: Truth, blemish: Blemish, store: Path) -> list[Window]:
    """Fill ``store`` with what ``blemish`` leaves of the telemetry, and ask the users of the same run."""
    users = Users()
    with Intake.open(store) as intake:
        sink = blemish.sink(DrainingSink(intake), [name for name in entities(scenario) if name.startswith("replica:")])
        play(blemish.scraped(scenario), sink, on_attempt=users.on_attempt)
    return users.windows(scenario, truth.judged_cohorts(scenario))


def _told(truth: Truth, windows: list[Window]) -> dict[str, Any]:
    ill = [window.at_s for window in windows if window.share < WELL]
    return {
        "entities": [one.entity for one in truth.triggers],
        "also": [list(one.also) for one in truth.triggers],
        "mechanisms": [one.mechanism for one in truth.triggers],
        "onset_s": [list(one.onset_s) for one in truth.triggers],
        "amplifiers": sorted({one.mechanism for one in truth.amplifiers}),
        "sustainers": sorted({one.mechanism for one in truth.sustainers}),
        "ill_s": ill,
    }


def _answered(answer: Investigation, start_ns: int) -> dict[str, Any]:
    def since(ns: int) -> float:
        return round((int(ns) - start_ns) / 1e9, 3)

    return {
        "abstained": answer.abstained,
        "triggers": [
            {"entity": one.entity, "mechanism": one.mechanism, "equivalent_to": list(one.equivalent_to),
             "probability": one.probability, "onset_s": [since(one.onset.low), since(one.onset.high)]}
            for one in answer.triggers
        ],
        "bad_s": [[since(phase.start), since(phase.end)] for phase in answer.impact.phases
                  if phase.state in ("outage", "degraded", "relapse")],
        "amplifiers": sorted({one.mechanism for one in answer.amplifiers}),
        "sustainers": sorted({one.mechanism for one in answer.sustainers}),
    }  # fmt: skip
