"""What every source needs: clients to send with, a cohort, the run's scales, luck, and the shipped parameters."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from instrumented_engine.clients.clients import Clients
from instrumented_engine.clients.live_cohort import LiveCohort, engine_arrival
from instrumented_engine.clients.workload import Arrival
from instrumented_engine.clock import VirtualLoop
from instrumented_engine.scenario import Workload

_DAY_HOURS = 24


@cache
def parameters(name: str) -> Any:
    """The shipped parameters called ``name`` (incidents/workloads, see its NOTICE.txt)."""
    return json.loads((Path(str(resources.files("incidents"))) / "workloads" / f"{name}.json").read_text())


@dataclass(frozen=True, slots=True)
class Origin:
    """A cohort's source. ``luck`` is its own stream; ``start_hour`` is the hour of Beijing's day at which the run begins."""

    clients: Clients
    cohort: LiveCohort
    loop: VirtualLoop
    workload: Workload
    block_tokens: int
    context: int
    luck: random.Random
    start_hour: float

    def arrival(self, session: str, prompt: int, output: int, keys: tuple[int, ...] | None = None) -> Arrival:
        """A request of so many real tokens, now, with the cohort's factors applied to its lengths."""
        return engine_arrival(
            self.loop.now_ns, session, max(1, round(prompt * self.cohort.context_factor)),
            max(1, round(output * self.cohort.output_factor)), workload=self.workload, block_tokens=self.block_tokens,
            context=self.context, keys=keys,
        )

    def start(self, arrival: Arrival) -> None:
        """Let one user send it."""
        self.loop.start(self._use(arrival))

    async def _use(self, arrival: Arrival) -> None:
        await self.clients.use(self.cohort, arrival)

    def level(self) -> float:
        """What the source's rate is multiplied by now: its factor, the growth of its users and turns, the day's curve."""
        cohort = self.cohort
        level = cohort.settings.rate_factor * cohort.users_factor * cohort.turns_factor
        if cohort.settings.curve == "day6":
            shares = parameters("day6_load")
            hour = (self.start_hour - 12 + self.loop.now_ns / 3.6e12) % _DAY_HOURS
            level *= shares[int(hour)] * len(shares)
        return float(level)
