"""A small serving fleet as a queueing simulation: test data for the analysis, independent of the engine.

Replicas work in steps over a FIFO queue with a prefix cache per session (LRU), a router picks the replica with the longest
prefix that an index knows of, the index applies block events at a finite rate, clients leave after a time-out and retry
while the server works on. Faults change a rate or a limit; every outcome is what the queues make of it.
"""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

BLOCK = 512
SCRAPE_S = 5.0


@dataclass(frozen=True)
class Plan:
    """What to simulate; times in seconds. Faults are (from, to, how much); from ``patient_from`` on nobody retries."""

    seed: int = 1
    replicas: int = 4
    duration: float = 1500.0
    rate: float = 1.3
    reuse: float = 0.75
    surge: tuple[float, float, float] = (0.0, 0.0, 1.0)
    longer: tuple[float, float, float] = (0.0, 0.0, 1.0)
    index_rate: float = 40.0
    slow_index: tuple[float, float, float] = (0.0, 0.0, 1.0)
    rebalance_at: float | None = None
    slow_replica: tuple[int, float, float, float] | None = None
    cache_blocks: int = 6000
    cache_cut: tuple[float, float, int] | None = None
    shed: tuple[float, float, float] | None = None
    affinity: int = 12
    retries: int = 2
    patient_from: float | None = None
    timeout: float = 20.0
    speed: float = 15400.0


@dataclass(eq=False)
class Attempt:
    request: int
    number: int
    session: int
    prompt: int
    output: int
    arrival: float
    replica: int = -1
    predicted: int = 0
    hit: int = 0
    left: float | None = None
    started: float | None = None
    first: float | None = None
    end: float | None = None
    todo: int = 0
    done: int = 0
    busy: float = 0.0
    wasted: float = 0.0
    outcome: str = ""
    finished: bool = False


@dataclass
class Replica:
    number: int
    queue: deque[Attempt] = field(default_factory=deque)
    running: list[Attempt] = field(default_factory=list)
    cache: OrderedDict[int, int] = field(default_factory=OrderedDict)
    cached: int = 0
    active: bool = False
    inflight: int = 0
    counts: dict[str, float] = field(default_factory=dict)

    def count(self, name: str, by: float = 1) -> None:
        self.counts[name] = self.counts.get(name, 0.0) + by


class Fleet:
    """Runs a plan; afterwards ``attempts``, ``steps``, ``samples`` hold what was observed."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.now = 0.0
        self.heap: list[tuple[float, int, str, Any]] = []
        self.order = 0
        self.replicas = [Replica(n) for n in range(plan.replicas)]
        self.known: dict[int, dict[int, int]] = {}
        self.pending: deque[tuple[float, int, int, int]] = deque()
        self.credit = 0.0
        self.index = {"applied": 0.0, "dumps": 0.0}
        self.gateway: dict[str, float] = {"first": 0.0, "retry": 0.0, "predicted": 0.0, "hit": 0.0}
        self.attempts: list[Attempt] = []
        self.steps: list[dict[str, Any]] = []
        self.samples: list[tuple[float, str, str, str, float]] = []
        self.sessions: list[tuple[int, int]] = []
        self.requests = 0

    def at(self, when: float, what: str, payload: Any = None) -> None:
        self.order += 1
        heapq.heappush(self.heap, (when, self.order, what, payload))

    def run(self) -> Fleet:
        self.at(0.1, "arrive")
        self.at(0.5, "index")
        self.at(SCRAPE_S, "scrape")
        if self.plan.rebalance_at is not None:
            self.at(self.plan.rebalance_at, "rebalance")
        while self.heap and self.heap[0][0] < self.plan.duration:
            self.now, _, what, payload = heapq.heappop(self.heap)
            getattr(self, f"on_{what}")(payload)
        return self

    # -- users ---------------------------------------------------------------------------------------------------

    def within(self, span: tuple[float, float, float]) -> float:
        return span[2] if span[0] <= self.now < span[1] else 1.0

    def on_arrive(self, _: Any) -> None:
        slow_wave = 1.0 + 0.15 * (1 if int(self.now / 47) % 3 == 0 else -0.5)
        rate = self.plan.rate * self.plan.replicas / 4 * slow_wave * self.within(self.plan.surge)
        self.at(self.now + self.random.expovariate(rate), "arrive")
        old = [s for s in self.sessions[-400:] if s[1] < 40_000]
        if old and self.random.random() < self.plan.reuse:
            session, length = self.random.choice(old)
        else:
            session, length = len(self.sessions), int(self.random.lognormvariate(8.3, 0.8))
            self.sessions.append((session, length))
        prompt = int((length + self.random.randint(100, 900)) * self.within(self.plan.longer))
        output = int(min(600, self.random.lognormvariate(4.8, 0.6))) + 4
        self.sessions[session] = (session, min(prompt, 60_000))
        self.requests += 1
        self.submit(Attempt(self.requests, 1, session, prompt, output, self.now))

    def submit(self, attempt: Attempt) -> None:
        self.gateway["first" if attempt.number == 1 else "retry"] += 1
        self.attempts.append(attempt)
        shed = self.plan.shed
        if shed and shed[0] <= self.now < shed[1] and self.random.random() < shed[2]:
            attempt.outcome, attempt.end = "rejected", self.now + 0.002
            self.at(self.now + 0.5 * 2**attempt.number, "retry", attempt)
            return
        known = self.known.get(attempt.session, {})
        blocks = attempt.prompt // BLOCK
        lengths = [min(known.get(r.number, 0), blocks) for r in self.replicas]
        loads = [r.inflight for r in self.replicas]
        least, best = loads.index(min(loads)), lengths.index(max(lengths))
        chosen = best if lengths[best] > 0.1 * blocks and loads[best] - loads[least] <= self.plan.affinity else least
        attempt.replica, attempt.predicted = chosen, lengths[chosen]
        self.gateway["predicted"] += lengths[chosen]
        replica = self.replicas[chosen]
        replica.inflight += 1
        replica.queue.append(attempt)
        self.at(self.now + self.plan.timeout, "timeout", attempt)
        if not replica.active:
            replica.active = True
            self.at(self.now, "step", replica)

    def on_timeout(self, attempt: Attempt) -> None:
        if attempt.first is None and not attempt.outcome:
            attempt.outcome, attempt.end, attempt.left = "timeout", self.now, self.now
            self.replicas[attempt.replica].inflight -= 1
            self.at(self.now + 0.5 * 2**attempt.number, "retry", attempt)

    def on_retry(self, attempt: Attempt) -> None:
        patient = self.plan.patient_from is not None and self.now >= self.plan.patient_from
        if attempt.number <= self.plan.retries and not patient:
            again = Attempt(attempt.request, attempt.number + 1, attempt.session, attempt.prompt, attempt.output, self.now)
            self.submit(again)

    # -- the index -----------------------------------------------------------------------------------------------

    def on_rebalance(self, _: Any) -> None:
        self.known = {}
        self.index["dumps"] += len(self.replicas)
        self.pending.clear()
        for replica in self.replicas:
            for session, blocks in replica.cache.items():
                self.pending.extend((self.now, replica.number, session, length) for length in range(1, blocks + 1))
        self.random.shuffle(self.pending)

    def on_index(self, _: Any) -> None:
        self.at(self.now + 0.5, "index")
        self.credit = min(self.credit, 0.0) + self.plan.index_rate * 0.5 * self.within(self.plan.slow_index)
        while self.pending and self.credit >= 1:
            _, replica, session, length = self.pending.popleft()
            known = self.known.setdefault(session, {})
            known[replica] = length if length == 0 else max(known.get(replica, 0), length)
            self.index["applied"] += 1
            self.credit -= 1

    # -- a replica -----------------------------------------------------------------------------------------------

    def store(self, replica: Replica, session: int, blocks: int) -> int:
        before = replica.cache.pop(session, 0)
        replica.cache[session] = max(before, blocks)
        replica.cached += max(0, blocks - before)
        for length in range(before + 1, blocks + 1):
            self.pending.append((self.now, replica.number, session, length))
        replica.count("published", max(0, blocks - before))
        limit, evicted = self.plan.cache_blocks, 0
        if self.plan.cache_cut and self.plan.cache_cut[0] <= self.now < self.plan.cache_cut[1]:
            limit = self.plan.cache_cut[2]
        while replica.cached > limit and len(replica.cache) > 1:
            victim, size = replica.cache.popitem(last=False)
            replica.cached -= size
            evicted += size
            self.pending.append((self.now, replica.number, victim, 0))
        replica.count("evictions", evicted)
        return evicted

    def admit(self, replica: Replica) -> None:
        while replica.queue and len(replica.running) < 48:
            attempt = replica.queue.popleft()
            blocks = attempt.prompt // BLOCK
            attempt.started = self.now
            attempt.hit = min(replica.cache.get(attempt.session, 0), blocks)
            self.gateway["hit"] += attempt.hit
            attempt.todo = attempt.prompt - attempt.hit * BLOCK
            replica.count("queries", attempt.prompt)
            replica.count("hits", attempt.hit * BLOCK)
            replica.running.append(attempt)

    def on_step(self, replica: Replica) -> None:
        self.admit(replica)
        if not replica.running:
            replica.active = False
            return
        slow = self.plan.slow_replica
        factor = slow[3] if slow and slow[0] == replica.number and slow[1] <= self.now < slow[2] else 1.0
        decoding = [a for a in replica.running if a.todo == 0]
        base = 0.002 + (8 * (0.0098 + 0.00005 * len(decoding)) if decoding else 0.0)
        budget = int(max(0.2 - base, 0.02) * self.plan.speed)
        shares: list[tuple[Attempt, int]] = [(a, 8) for a in decoding]
        prefill = 0
        for attempt in replica.running:
            if attempt.todo and budget:
                take = min(attempt.todo, budget)
                attempt.todo -= take
                budget -= take
                prefill += take
                shares.append((attempt, take))
        duration = (base + prefill / self.plan.speed) * factor
        end = self.now + duration
        evicted = self.finish(replica, shares, duration, end)
        self.steps.append({
            "replica": replica.number, "start": self.now, "duration": duration, "prefill": prefill,
            "decode": 8 * len(decoding), "running": len(replica.running), "waiting": len(replica.queue),
            "evicted": evicted, "used": sum(a.prompt // BLOCK for a in replica.running),
        })  # fmt: skip
        self.at(end, "step", replica)

    def finish(self, replica: Replica, shares: list[tuple[Attempt, int]], duration: float, end: float) -> int:
        total, evicted = sum(n for _, n in shares), 0
        for attempt, tokens in shares:
            part = duration * tokens / total
            attempt.busy += part
            attempt.wasted += part if attempt.left is not None else 0.0
            if attempt.todo:
                continue
            if attempt.done == 0:
                evicted += self.store(replica, attempt.session, attempt.prompt // BLOCK)
                attempt.first = end if attempt.left is None else None
                attempt.done = 1
                continue
            attempt.done += tokens
            if attempt.done >= attempt.output:
                attempt.finished = True
                if attempt.left is None:
                    attempt.outcome, attempt.end = "ok", end
                    replica.inflight -= 1
        replica.running = [a for a in replica.running if not a.finished]
        return evicted

    def on_scrape(self, _: Any) -> None:
        self.at(self.now + SCRAPE_S, "scrape")
        for r in self.replicas:
            for signal in ("evictions", "published", "queries", "hits"):
                self.samples.append((self.now, f"replica:{r.number}", signal, "counter", r.counts.get(signal, 0.0)))
            self.samples.append((self.now, f"replica:{r.number}", "waiting", "gauge", float(len(r.queue))))
            self.samples.append((self.now, f"replica:{r.number}", "cached", "gauge", float(r.cached)))
        lag = self.now - self.pending[0][0] if self.pending else 0.0
        for signal, value in (("lag", lag), ("lag_events", float(len(self.pending)))):
            self.samples.append((self.now, "kv_index", signal, "gauge", value))
        for signal, value in self.index.items():
            self.samples.append((self.now, "kv_index", signal, "counter", value))
        for signal, value in self.gateway.items():
            self.samples.append((self.now, "gateway", signal, "counter", value))
