"""One attempt inside an engine: its state, its KV blocks and its account of time and work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from instrumented_engine.clients.workload import Arrival
from instrumented_engine.scenario import Cohort

Ending = Literal["ok", "error", "cancelled"]
"""How the engine is done with an attempt: answered, lost with the replica, or dropped because its client had left."""


class State(Enum):
    """Where an attempt is inside the engine. It is in exactly one state at any time."""

    QUEUED = "queue_ns"
    KV_TRANSFER = "kv_transfer_ns"
    PREFILL = "prefill_ns"
    DECODE = "decode_ns"
    PREEMPTED = "preempted_ns"
    DONE = "stream_ns"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a client hands in: the user's request, which attempt at it this is, and the trace it belongs to."""

    arrival: Arrival
    cohort: Cohort
    request_id: str
    number: int
    trace_id: int
    span_id: int
    previous_span_id: int | None


@dataclass(slots=True, eq=False)
class Sequence:
    """``computed`` counts the tokens whose KV is in ``blocks``; ``generated`` holds the sampled ids; ``filled`` tells that
    the prompt (after a preemption: prompt and output so far) is computed, so that the sequence decodes.

    ``on_first_token`` and ``on_end`` tell the gateway; with ``handover`` set the engine gives the sequence away after its first
    token, by calling it; ``abandoned`` is set when the client has left.
    """

    arrival: Arrival
    attempt: Attempt
    span_id: int
    entered_ns: int
    prompt: list[int]
    on_first_token: Callable[[], None]
    on_end: Callable[[Ending], None]
    handover: Callable[[], None] | None = None
    blocks: list[int] = field(default_factory=list)
    computed: int = 0
    filled: bool = False
    generated: list[int] = field(default_factory=list)
    state: State = State.QUEUED
    since_ns: int = 0
    spent_ns: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    hit_blocks: int | None = None
    first_scheduled_ns: int | None = None
    first_token_ns: int | None = None
    computed_prompt: int = 0
    recomputed: int = 0
    preemptions: int = 0
    abandoned: bool = False
    ending: Ending | None = None
    busy_ns: int = 0
    held_since_ns: int = 0
    kv_block_ns: int = 0
    events: list[tuple[str, int]] = field(default_factory=list)

    @property
    def target(self) -> int:
        """Tokens that must be in the KV cache before the next one can be sampled."""
        return len(self.prompt) + max(0, len(self.generated) - 1)

    @property
    def finished(self) -> bool:
        """Whether every output token has been generated."""
        return len(self.generated) >= self.arrival.engine_output

    def tokens_from(self, start: int, count: int) -> list[int]:
        """The ids at positions ``start .. start + count`` of prompt followed by output."""
        end = start + count
        size = len(self.prompt)
        if end <= size:
            return self.prompt[start:end]
        return self.prompt[start:] + self.generated[max(0, start - size) : end - size]

    def enter(self, state: State, now_ns: int, event: str) -> None:
        """Leave the present state, charging it with the time spent, and enter ``state``."""
        self.spent_ns[self.state] += now_ns - self.since_ns
        self.state, self.since_ns = state, now_ns
        self.events.append((event, now_ns))

    def spent_by(self, now_ns: int) -> dict[State, int]:
        """Time per state up to ``now_ns``, the present state included."""
        spent = dict(self.spent_ns)
        spent[self.state] += now_ns - self.since_ns
        return spent

    def hold(self, blocks: list[int], now_ns: int) -> None:
        """Add ``blocks``, keeping the account of blocks times time."""
        self.settle(now_ns)
        self.blocks.extend(blocks)

    def settle(self, now_ns: int) -> None:
        """Charge the blocks held since the last change."""
        self.kv_block_ns += len(self.blocks) * (now_ns - self.held_since_ns)
        self.held_since_ns = now_ns
