"""A class of clients as it behaves now: what a release, a campaign or an attack changes about it.

Four factors tell growth apart: more users (sessions), more turns per user, longer prompts, longer answers. Each request is
changed when it arrives, by luck that depends on its session alone, so that a user is the same user throughout.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace

from instrumented_engine.clients.workload import Arrival
from instrumented_engine.mechanism import Measure, Switch
from instrumented_engine.scenario import Cohort, Workload

USERS = Switch("cohort", "users_factor", high=100)
TURNS = Switch("cohort", "turns_factor", low=0.01, high=100)
CONTEXT = Switch("cohort", "context_factor", low=0.001, high=100)
OUTPUT = Switch("cohort", "output_factor", low=0.001, high=100)
_TURN_S = (5.0, 30.0)
"""Seconds after which a turn that was not in the trace follows."""


class LiveCohort:
    """``users_factor``, ``turns_factor``, ``context_factor``, ``output_factor``, and what is set from ``settings``, are
    switches. ``context`` is the model's in engine tokens; what does not fit is clipped and counted."""

    def __init__(self, settings: Cohort, workload: Workload, *, block_tokens: int, context: int, seed: int) -> None:
        self.settings = settings
        self.users_factor = self.turns_factor = self.context_factor = self.output_factor = 1.0
        self.retry: str = settings.retry
        self.max_retries = settings.max_retries
        self.give_up = settings.give_up
        self.subagents = settings.subagents
        self.flood_per_s = settings.flood_per_s
        self.batch_size: float = settings.batch_size
        self.clipped = self.refreshes = self.batches_asked = 0
        self._workload = workload
        self._block_tokens = block_tokens
        self._context = context
        self._seed = seed

    def start_batch(self) -> None:
        """Begin one batch job."""
        self.batches_asked += 1

    def requests(self, arrival: Arrival) -> Iterator[tuple[float, Arrival]]:
        """What becomes of one recorded request: (seconds later, request), none or several."""
        if self.users_factor == self.turns_factor == 1.0:
            yield 0.0, self._shaped(arrival, 0)
            return
        luck = random.Random(f"{self._seed}:{self.settings.name}:{arrival.session}")
        for user in range(self._draw(self.users_factor, luck)):
            turn_luck = random.Random(f"{self._seed}:{arrival.session}:{user}:{arrival.at_ns}")
            for turn in range(self._draw(self.turns_factor, turn_luck)):
                later_s = 0.0 if turn == 0 else turn * turn_luck.uniform(*_TURN_S)
                yield later_s, self._shaped(arrival, user)

    @staticmethod
    def _draw(factor: float, luck: random.Random) -> int:
        return int(factor) + (luck.random() < factor - int(factor))

    def _shaped(self, arrival: Arrival, user: int) -> Arrival:
        if user == 0 and self.context_factor == self.output_factor == 1.0:
            return arrival
        output = max(1, round(arrival.engine_output * self.output_factor))
        output_kept = min(output, self._context // 2)
        room = (self._context - output_kept) // self._block_tokens * self._block_tokens
        prompt = max(1, round(arrival.engine_prompt * self.context_factor))
        kept = min(prompt, room)
        self.clipped += kept < prompt or output_kept < output
        return replace(
            arrival,
            session=arrival.session if user == 0 else f"{arrival.session}~{user}",
            prompt_tokens=round(arrival.prompt_tokens * self.context_factor * kept / prompt),
            output_tokens=max(1, round(arrival.output_tokens * self.output_factor * output_kept / output)),
            engine_prompt=kept,
            engine_output=output_kept,
            blocks=self._keys(arrival, user, kept // self._block_tokens),
        )

    def _keys(self, arrival: Arrival, user: int, count: int) -> tuple[int, ...]:
        """Another user says other things; a longer context goes on with the session's own words."""
        keys = arrival.blocks[:count]
        if count > len(keys):
            own = random.Random(f"longer:{arrival.session}").getrandbits(40) << 20
            keys += tuple(own + i for i in range(len(keys), count))
        return tuple(key + (user << 62) for key in keys) if user else keys

    def measures(self) -> Iterable[Measure]:
        """Attempts that came from pressing reload, and requests clipped to the model's context."""
        yield Measure("flashover:client_refreshes", self.refreshes, counter=True)
        yield Measure("flashover:client_clipped_requests", self.clipped, counter=True)


def engine_arrival(
    at_ns: int, session: str, prompt_tokens: int, output_tokens: int, *, workload: Workload, block_tokens: int, context: int,
    keys: tuple[int, ...] | None = None,
) -> Arrival:
    """A request of so many real tokens, scaled for the engine and clipped to its ``context``. ``keys``: of its whole blocks,
    longest prefix that is known; the rest, or all, are its own."""
    output = min(max(1, round(output_tokens * workload.output_scale)), context // 2)
    room = (context - output) // block_tokens * block_tokens
    prompt = min(max(1, round(prompt_tokens * workload.prompt_scale)), room)
    count = prompt // block_tokens
    known = (keys or ())[:count]
    own = random.Random(f"{session}:{at_ns}").getrandbits(40) << 20
    return Arrival(
        at_ns=at_ns, session=session, prompt_tokens=min(prompt_tokens, round(prompt / workload.prompt_scale)),
        output_tokens=max(1, round(output / workload.output_scale)), engine_prompt=prompt, engine_output=output,
        blocks=known + tuple(own + i for i in range(len(known), count)),
    )
