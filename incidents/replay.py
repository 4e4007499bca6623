"""Run a scenario on the engine and fill a store: the engine hands over the very bytes that HTTP would carry.

``replay`` fills a store of its own in process, ``play`` gives the bodies to any sink, such as one that sends them to a
collector.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from collectors.errors import BadInput
from collectors.intake import Intake
from collectors.sink import Signal, Sink
from instrumented_engine.clients.workload import Arrivals, prepare
from instrumented_engine.cluster import Cluster
from instrumented_engine.model.runner import Runner
from instrumented_engine.model.tokens import token_ids
from instrumented_engine.reporting.reporter import Reporter
from instrumented_engine.rooms import check
from instrumented_engine.routing.door import AttemptRecord
from instrumented_engine.scenario import Scenario
from instrumented_engine.telemetry import DigestSink

RunnerName = Literal["torch", "recorded"]
OnAttempt = Callable[[AttemptRecord], None]
DRAIN_SYNCS = 10
"""The intake decodes after so many flushes: few, large commits."""


@dataclass(frozen=True, slots=True)
class Played:
    """What was played: the SHA-256 over all OTLP bodies, requests played and clipped."""

    sha256: str
    requests: int
    clipped: int


@dataclass(frozen=True, slots=True)
class Replayed(Played):
    """What a replay left, and the folder of its store."""

    store: Path


class DrainingSink:
    """Puts bodies into an intake and lets it decode every ``DRAIN_SYNCS`` flushes."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._syncs = 0

    def put(self, signal: Signal, body: bytes) -> None:
        self._intake.put(signal, body)

    def sync(self) -> None:
        self._intake.sync()
        self._syncs += 1
        if self._syncs % DRAIN_SYNCS == 0:
            self._intake.drain()


def make_runner(name: RunnerName, scenario: Scenario) -> Runner:
    """The runner called ``name`` for ``scenario``. ``torch`` needs the ``engine`` extra (BadInput says so)."""
    sizes: dict[str, Any] = {
        "replicas": scenario.cluster.replicas,
        "blocks": scenario.replica.kv_blocks,
        "block_tokens": scenario.replica.block_tokens,
        "seed": scenario.seed,
    }
    if name == "recorded":
        from instrumented_engine.model.recorded_runner import RecordedRunner

        return RecordedRunner(scenario.model, **sizes)
    try:
        from instrumented_engine.model.torch_runner import TorchRunner
    except ModuleNotFoundError as error:
        raise BadInput(f"--runner torch: {error.name} is not installed; install the 'engine' extra, or use "
                       "--runner recorded") from error
    return TorchRunner(scenario.model, **sizes)


class HeardReporter(Reporter):
    """A reporter beside which somebody else hears of attempts, to ask users in the same run."""

    def __init__(self, scenario: Scenario, sink: Sink, on_progress: Callable[[float], None], on_attempt: OnAttempt) -> None:
        super().__init__(scenario, sink, on_progress)
        self._also = on_attempt

    def on_attempt(self, record: AttemptRecord) -> None:
        """An attempt ended as its client sees it."""
        super().on_attempt(record)
        self._also(record)


def play(
    scenario: Scenario, sink: Sink, runner: RunnerName = "recorded", *,
    on_progress: Callable[[float], None] = lambda seconds: None, on_attempt: OnAttempt = lambda record: None,
) -> Played:
    """Play ``scenario`` from end to end into ``sink``; it gets no body when the scenario cannot be played (BadInput).

    ``on_progress`` is told the virtual seconds played, ``on_attempt`` of each attempt. Raises what the sink raises.
    """
    return _run(scenario, *prepared(scenario, runner), sink, on_progress, on_attempt)


def replay(
    scenario: Scenario,
    out: Path,
    runner: RunnerName = "recorded",
    *,
    on_progress: Callable[[float], None] = lambda seconds: None,
    on_synced: Callable[[int], None] | None = None,
) -> Replayed:
    """Play ``scenario`` from end to end into a new store at ``out``.

    ``on_progress`` is told the virtual seconds played, ``on_synced`` the last durable frame after each flush. Raises
    BadInput for a scenario that cannot be, StorageFull, StoreBusy.
    """
    check(scenario)
    if out.exists() and any(out.iterdir()):
        raise BadInput(f"{out}: is not empty; give a new folder for the store")
    engine, arrivals = prepared(scenario, runner)
    with Intake.open(out, on_synced) as intake:
        played = _run(scenario, engine, arrivals, DrainingSink(intake), on_progress)
    return Replayed(played.sha256, played.requests, played.clipped, out)


def prepared(scenario: Scenario, runner: RunnerName) -> tuple[Runner, Arrivals]:
    """The runner and the arrivals of one run of ``scenario``. Raises BadInput for one that cannot be."""
    check(scenario)
    engine = make_runner(runner, scenario)
    arrivals = prepare(
        scenario.workload,
        block_tokens=scenario.replica.block_tokens,
        context=engine.shape.context,
        duration_s=scenario.warm_up_s + scenario.duration_s,
        seed=scenario.seed,
    )
    return engine, arrivals


def _run(
    scenario: Scenario, engine: Runner, arrivals: Arrivals, sink: Sink, on_progress: Callable[[float], None],
    on_attempt: OnAttempt = lambda record: None,
) -> Played:
    gc.collect()
    gc.freeze()
    digest = DigestSink(sink)
    reporter = HeardReporter(scenario, digest, on_progress, on_attempt)
    cluster = Cluster(scenario, arrivals, engine, reporter, token_ids)
    cluster.run()
    reporter.finish(cluster)
    gc.unfreeze()
    return Played(digest.sha256, len(arrivals.requests), arrivals.clipped)
