"""What every door of the service has in common: it takes an attempt in, and says how it ended.

Doors stand behind each other (chat tier, traffic manager, gateway). The one that ends an attempt reports it: one record
an attempt, whichever way it took.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from instrumented_engine.replica.sequence import Attempt, Sequence
from instrumented_engine.routing.router import Decision

Outcome = Literal["ok", "timeout", "rejected", "error", "cancelled"]


class Door(Protocol):
    """Takes attempts in."""

    async def handle(self, attempt: Attempt, since_ns: int | None = None) -> Outcome:
        """Serve one attempt to the end its client sees. ``since_ns``: when the client sent it, if another door has had it
        before this one; its patience and its account run from then."""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """How an attempt went. ``door``: entity of the door that ended it; ``replica``: entity that served it;
    ``refusal``: why the door turned it away.

    ``phases`` are nanoseconds per phase column and sum to ``end_ns - start_ns``.
    """

    door: str
    attempt: Attempt
    start_ns: int
    end_ns: int
    outcome: Outcome
    decision: Decision | None
    replica: str | None
    sequence: Sequence | None
    phases: dict[str, int]
    ttft_ns: int | None
    refusal: str | None = None
