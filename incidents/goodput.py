"""What users got of a run, asked of the users themselves and not of the telemetry: the yardstick for labels.

A user is served when any attempt at their request is answered before they lose patience. Users count in the window in
which they came, so that an answer that took minutes does not make a bad minute good.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from incidents.replay import prepared
from instrumented_engine.cluster import Cluster
from instrumented_engine.replica.engine import Engine
from instrumented_engine.replica.sequence import Sequence as EngineSequence
from instrumented_engine.replica.step_record import StepRecord
from instrumented_engine.routing.door import AttemptRecord
from instrumented_engine.scenario import Scenario

WINDOW_S = 30.0
LAST_S = 90.0
"""Who comes so late may still be waiting when the run ends, and is not counted."""


class Window(NamedTuple):
    """Users who came within ``WINDOW_S`` from ``at_s`` on (seconds since the scenario's start), how many were served, and how
    many of these by their first attempt."""

    at_s: float
    users: int
    served: int
    at_once: int = 0

    @property
    def share(self) -> float:
        """The served ones' share; 1 when nobody came."""
        return self.served / self.users if self.users else 1.0

    @property
    def share_at_once(self) -> float:
        """The share of those served by their first attempt; 1 when nobody came."""
        return self.at_once / self.users if self.users else 1.0


class Users:
    """An observer that remembers of each request whose it is, when it came and whether it was served, also by what came
    first."""

    def __init__(self) -> None:
        self.requests: dict[str, tuple[str, int, bool, bool]] = {}

    def on_attempt(self, record: AttemptRecord) -> None:
        """One attempt ended."""
        attempt = record.attempt
        answered, begun = record.outcome == "ok", record.start_ns
        whose, first_ns, served, at_once = self.requests.get(attempt.request_id, (attempt.cohort.name, begun, False, answered))
        at_once = answered if begun < first_ns else at_once
        self.requests[attempt.request_id] = whose, min(first_ns, begun), served or answered, at_once

    def windows(self, scenario: Scenario, cohorts: Collection[str]) -> list[Window]:
        """Those of ``cohorts``, window by window, after ``scenario`` was played."""
        count = max(1, int((scenario.duration_s - LAST_S) // WINDOW_S))
        came, served, at_once = [0] * count, [0] * count, [0] * count
        for whose, first_ns, answered, by_the_first in self.requests.values():
            number = int((first_ns / 1e9 - scenario.warm_up_s) // WINDOW_S)
            if whose in cohorts and 0 <= number < count:
                came[number] += 1
                served[number] += answered
                at_once[number] += by_the_first
        return [Window(i * WINDOW_S, *counts) for i, counts in enumerate(zip(came, served, at_once, strict=True))]

    def on_start(self, cluster: Cluster) -> None:
        """Nothing to prepare."""

    def on_sequence_done(self, engine: Engine, sequence: EngineSequence) -> None:
        """Engines are not asked."""

    def on_step(self, engine: Engine, record: StepRecord) -> None:
        """Engines are not asked."""

    def on_action(self, kind: str, entity: str, summary: str, at_ns: int) -> None:
        """Operators are not asked."""

    def on_tick(self, cluster: Cluster) -> None:
        """Nothing to do."""


def goodput(scenario: Scenario, cohorts: Collection[str]) -> list[Window]:
    """Play ``scenario`` with the recorded runner and ask the users of ``cohorts``, window by window. Raises BadInput."""
    return goodput_by(scenario, {"": cohorts})[""]


def goodput_by(scenario: Scenario, groups: Mapping[str, Collection[str]]) -> dict[str, list[Window]]:
    """The same for several groups of cohorts in one run."""
    runner, arrivals = prepared(scenario, "recorded")
    users = Users()
    Cluster(scenario, arrivals, runner, users, lambda key, count, vocabulary: []).run()
    return {name: users.windows(scenario, cohorts) for name, cohorts in groups.items()}


def lost(windows: Sequence[Window]) -> int:
    """How many users were not served: the area of an outage."""
    return sum(window.users - window.served for window in windows)
