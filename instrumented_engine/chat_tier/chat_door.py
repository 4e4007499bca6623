"""The chat tier: a door before the API with services of its own, so that chat can be down while the API stays up.

That is the strongest public fact of 2026-03-29: only the chat component was ever marked; users could not log in, lost their
history, and saw "server busy" (incident-facts 1.1). A flood of sign-ups at the login is DeepSeek's January 2025 (1.2).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Measure
from instrumented_engine.replica.sequence import Attempt
from instrumented_engine.routing.door import AttemptRecord, Door, Outcome
from instrumented_engine.scenario.chat_tier import ChatTier as Settings
from instrumented_engine.work_queue import WorkQueue

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

_MOST_TOKENS = 1_000_000


class Service:
    """A service with finite work per second: ``chat_ops_per_s`` is its switch."""

    def __init__(self, cluster: Cluster, ops_per_s: float) -> None:
        self.done = self.failed = 0
        self._queue = WorkQueue(cluster.loop, ops_per_s)

    @property
    def chat_ops_per_s(self) -> float:
        """Operations a second."""
        return self._queue.units_per_s

    @chat_ops_per_s.setter
    def chat_ops_per_s(self, value: float) -> None:
        self._queue.units_per_s = value

    async def call(self, units: float, timeout_s: float) -> bool:
        """One operation; False when it took too long."""
        done = await self._queue.do(units, timeout_s)
        self.done += done
        self.failed += not done
        return done

    def measures(self) -> Iterable[Measure]:
        """Operations by result, and how long one that comes now waits."""
        for result, count in (("ok", self.done), ("timeout", self.failed)):
            yield Measure("flashover:chat_operations", count, counter=True, labels=(("result", result),))
        yield Measure("flashover:chat_operation_wait_seconds", self._queue.wait_s, "s")


class ChatDoor:
    """``chat_concurrency`` is a switch. Attempts of other cohorts go straight on."""

    def __init__(self, entity: str, cluster: Cluster, behind: Door, settings: Settings) -> None:
        self.entity = entity
        self.chat_concurrency: float = settings.max_concurrency
        self.login = Service(cluster, settings.logins_per_s)
        self.history = Service(cluster, settings.history_ops_per_s)
        self.inside = self.sign_ups = 0
        self.refusals: dict[str, int] = {}
        self._cluster = cluster
        self._behind = behind
        self._settings = settings
        self._tokens: OrderedDict[str, int] = OrderedDict()

    async def handle(self, attempt: Attempt, since_ns: int | None = None) -> Outcome:
        """Log in, read the history, ask the API, write the history."""
        if attempt.cohort.via != "chat":
            return await self._behind.handle(attempt, since_ns)
        start_ns = self._cluster.loop.now_ns if since_ns is None else since_ns
        if self.inside >= self.chat_concurrency:
            return self._refuse(attempt, start_ns, "server_busy", "rejected")
        self.inside += 1
        outcome = await self._turn(attempt, start_ns)
        self.inside -= 1
        return outcome

    async def _turn(self, attempt: Attempt, start_ns: int) -> Outcome:
        if not await self._logged_in(attempt, start_ns):
            return self._failed(attempt, start_ns, "login")
        if not await self.history.call(1.0, self._left_s(attempt, start_ns)):
            return self._failed(attempt, start_ns, "history")
        outcome = await self._behind.handle(attempt, start_ns)
        if outcome == "ok":
            await self.history.call(1.0, self._settings.service_timeout_s)
        return outcome

    async def _logged_in(self, attempt: Attempt, start_ns: int) -> bool:
        """Whether the session has a token, or gets one."""
        session, now_ns = attempt.arrival.session, self._cluster.loop.now_ns
        issued_ns = self._tokens.get(session)
        if issued_ns is not None and now_ns - issued_ns < self._settings.login_ttl_s * 1e9:
            return True
        if not await self.login.call(1.0, self._left_s(attempt, start_ns)):
            return False
        self._tokens[session] = self._cluster.loop.now_ns
        if len(self._tokens) > _MOST_TOKENS:
            self._tokens.popitem(last=False)
        return True

    def log_everybody_out(self) -> None:
        """All tokens are void, as after a roll-back of the login's store: everybody logs in again at once."""
        self._tokens.clear()

    def sign_up(self, name: str) -> None:
        """Somebody wants an account."""
        self.sign_ups += 1
        self._cluster.loop.start(self._sign_up())

    async def _sign_up(self) -> None:
        await self.login.call(self._settings.sign_up_logins, self._settings.service_timeout_s)

    def _left_s(self, attempt: Attempt, start_ns: int) -> float:
        """How long a service may take: its time-out, or what is left of the client's patience."""
        patience_s = attempt.cohort.ttft_timeout_s - (self._cluster.loop.now_ns - start_ns) / 1e9
        return max(0.0, min(self._settings.service_timeout_s, patience_s))

    def _failed(self, attempt: Attempt, start_ns: int, service: str) -> Outcome:
        waited_ns = self._cluster.loop.now_ns - start_ns
        left = waited_ns >= round(attempt.cohort.ttft_timeout_s * 1e9)
        return self._refuse(attempt, start_ns, service, "timeout" if left else "error")

    def _refuse(self, attempt: Attempt, start_ns: int, reason: str, outcome: Outcome) -> Outcome:
        self.refusals[reason] = self.refusals.get(reason, 0) + 1
        now_ns = self._cluster.loop.now_ns
        self._cluster.observer.on_attempt(AttemptRecord(
            self.entity, attempt, start_ns, now_ns, outcome, None, None, None, {"gateway_ns": now_ns - start_ns}, None, reason
        ))
        return outcome

    def measures(self) -> Iterable[Measure]:
        """Who is inside, who was refused and why, and sign-ups."""
        yield Measure("flashover:chat_inflight", self.inside)
        yield Measure("flashover:chat_sign_ups", self.sign_ups, counter=True)
        for reason, count in self.refusals.items():
            yield Measure("flashover:chat_refusals", count, counter=True, labels=(("reason", reason),))
