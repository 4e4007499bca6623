"""What queueing theory knows in closed form, the cluster must come to by itself.

A replica whose steps take the same time whatever is in them, with c slots, is a queue with c servers; one whose steps take
time in proportion to their batch is processor sharing. Errors stated are those of runs this long; each run is
deterministic, so that a failure means a change and not bad luck.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_fleet import Memory, NullRunner

from instrumented_engine.clients.workload import Arrival, Arrivals
from instrumented_engine.clock import VirtualLoop, run_virtual
from instrumented_engine.cluster import Cluster
from instrumented_engine.kv.event_stream import EventStream
from instrumented_engine.kv.kv_index import KvIndex
from instrumented_engine.replica.sequence import State
from instrumented_engine.scenario import Scenario

SECOND = 1_000_000_000


def fleet(folder: Path, *, base_ms: float, each_ms: float, duration_s: float, **tables: Any) -> Scenario:
    """One replica whose step takes ``base_ms`` plus ``each_ms`` per sequence; prefill costs nothing."""
    profile = folder / "profile.toml"
    profile.write_text(f"""[profile]
name = "textbook"
prefill_tokens_per_s = 1e12
decode_base_ms = {base_ms}
decode_per_sequence_ms = {each_ms}
step_overhead_ms = 0
""")
    data: dict[str, Any] = {
        "title": "textbook", "duration_s": duration_s, "scrape_s": duration_s,
        "workload": {"prompt_scale": 1, "output_scale": 1},
        "cohorts": [{"name": "jobs", "ttft_timeout_s": 80_000, "max_retries": 0}],
        "cluster": {"replicas": 1, "profile": str(profile)},
        "replica": {"block_tokens": 8, "kv_blocks": 80_000, "max_running": 5_000, "max_waiting": 100_000},
        "kv_index": {"lookup_ms": 0}, "gateway": {"overhead_ms": 0, "stream_ms": 0},
    }
    for key, value in tables.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) else value
    return Scenario.model_validate(data)


def jobs(count: int, rate: float, tokens: Callable[[random.Random], float], seed: int = 1) -> Arrivals:
    """Poisson arrivals at ``rate`` a second of one-token prompts that decode for ``tokens`` steps (at least one)."""
    rng = random.Random(seed)
    at, requests = 0.0, []
    for number in range(count):
        at += rng.expovariate(rate)
        output = 1 + max(1, round(tokens(rng)))
        requests.append(Arrival(
            at_ns=round(at * SECOND), session=f"n{number}", prompt_tokens=1, output_tokens=output, engine_prompt=1,
            engine_output=output, blocks=(),
        ))
    return Arrivals(requests, 0)


def run(scene: Scenario, arrivals: Arrivals) -> tuple[Cluster, Memory]:
    memory = Memory()
    cluster = Cluster(scene, arrivals, NullRunner(), memory, lambda key, count, vocabulary: [0] * count)
    cluster.run()
    return cluster, memory


def mean_sojourn_s(memory: Memory, skip: int) -> float:
    """Mean time in the system of all but the first ``skip`` jobs."""
    ends = sorted(memory.attempts, key=lambda record: record.start_ns)[skip:]
    return sum(record.end_ns - record.start_ns for record in ends) / len(ends) / SECOND


def drawn(arrivals: Arrivals) -> tuple[float, float]:
    """Arrivals a second and mean decode steps of a job, as they came out."""
    requests = arrivals.requests
    rate = len(requests) / requests[-1].at_ns * SECOND
    return rate, sum(arrival.engine_output - 1 for arrival in requests) / len(requests)


def erlang_c(servers: int, load: float) -> float:
    """Probability that an arrival must wait in M/M/c; ``load`` = lambda / mu."""
    inverse_b = 1.0
    for k in range(1, servers + 1):
        inverse_b = 1 + inverse_b * k / load
    blocking = 1 / inverse_b
    rho = load / servers
    return blocking / (1 - rho + rho * blocking)


@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_slots_are_the_servers_of_m_m_c(tmp_path: Path, rho: float) -> None:
    """Mean sojourn within 4 %. Service 0.8 s on average in steps of 20 ms, 6 slots. A job holds its slot for the step that
    takes in its prompt, too, because that step decodes for the others."""
    servers, mean_tokens, step_s, count = 6, 40, 0.02, 6_000
    service_s = mean_tokens * step_s
    rate = rho * servers / service_s
    scene = fleet(tmp_path, base_ms=step_s * 1e3, each_ms=0, duration_s=count / rate + 200, replica={"max_running": servers})
    arrivals = jobs(count, rate, lambda rng: rng.expovariate(1 / mean_tokens))
    _, memory = run(scene, arrivals)
    rate, steps = drawn(arrivals)
    service_s = (steps + 1) * step_s
    expected = service_s + erlang_c(servers, rate * service_s) * service_s / (servers - rate * service_s)
    assert mean_sojourn_s(memory, 500) == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("tokens", [
    pytest.param(lambda rng: rng.expovariate(1 / 40), id="exponential"),
    pytest.param(lambda rng: 20 if rng.random() < 0.75 else 100, id="bimodal"),
    pytest.param(lambda rng: 40, id="fixed"),
])
def test_a_step_in_proportion_to_its_batch_is_processor_sharing(
    tmp_path: Path, tokens: Callable[[random.Random], float]
) -> None:
    """M/G/1-PS is insensitive: E[T] = E[S] / (1 - rho) whatever the distribution. Within 5 % at rho 0.6."""
    rho, each_s, count = 0.6, 0.005, 4_000
    service_s = 40 * each_s
    scene = fleet(tmp_path, base_ms=0, each_ms=each_s * 1e3, duration_s=count * service_s / rho + 100)
    arrivals = jobs(count, rho / service_s, tokens)
    _, memory = run(scene, arrivals)
    rate, steps = drawn(arrivals)
    assert mean_sojourn_s(memory, 300) == pytest.approx(steps * each_s / (1 - rate * steps * each_s), rel=0.05)


def test_little_s_law_holds_for_requests_and_for_kv_blocks(tmp_path: Path) -> None:
    """L = lambda W along the path, for what is in the system and for the blocks that it holds."""
    count, rate = 2_000, 10.0
    scene = fleet(tmp_path, base_ms=8, each_ms=0.5, duration_s=count / rate + 100)
    cluster, memory = run(scene, jobs(count, rate, lambda rng: rng.expovariate(1 / 40)))
    assert len(memory.done) == count
    held = sum(sequence.kv_block_ns for sequence in memory.done)
    integral, running = 0, 0
    for _, record in memory.steps:
        integral += record.kv_used_blocks * record.duration_ns
        running += record.running * record.duration_ns
    assert integral == pytest.approx(held, rel=0.05)
    inside = sum(sequence.spent_ns[State.PREFILL] + sequence.spent_ns[State.DECODE] for sequence in memory.done)
    assert running == pytest.approx(inside, rel=0.05)
    assert cluster.engines[0].pool.used == 0


def test_block_events_wait_for_the_writer_as_in_m_d_1() -> None:
    """Mean lag of the KV index with Poisson events at rate lambda and one writer of rate mu: Pollaczek-Khinchine with
    fixed service, plus the service itself. Within 10 %; the writer looks every 50 ms, which is small beside it."""
    rate, per_s, count = 3.2, 4.0, 4_000
    loop = VirtualLoop()
    index = KvIndex(loop, writer_ops_per_s=per_s, route_by="new_map")

    class Publisher:
        stream = EventStream(100_000, lambda: loop.now_ns, index.wake)

        def held_keys(self) -> list[int]:
            return []

    publisher = Publisher()
    index.connect(publisher)
    rng = random.Random(3)
    lags: list[float] = []

    async def publish() -> None:
        for key in range(count):
            await loop.sleep_ns(round(rng.expovariate(rate) * SECOND))
            publisher.stream.publish(("stored", key))

    async def watch() -> None:
        """Little once more: the mean number pending is sampled, the lag is it over the rate."""
        while True:
            await loop.sleep_ns(SECOND // 20)
            lags.append(len(publisher.stream.pending))

    async def main() -> None:
        tasks = [loop.create_task(index.run()), loop.create_task(watch())]
        await publish()
        for task in tasks:
            task.cancel()

    run_virtual(main(), loop)
    rho = rate / per_s
    expected_s = 1 / per_s + rho / (2 * per_s * (1 - rho))
    assert sum(lags) / len(lags) / rate == pytest.approx(expected_s, rel=0.10)


@pytest.mark.parametrize(("share", "retries"), [(0.3, 2), (0.7, 4), (0.9, 1)])
def test_attempts_per_request_under_a_failure_probability(tmp_path: Path, share: float, retries: int) -> None:
    """E[attempts] = (1 - p^(r+1)) / (1 - p); within 4 % for 3,000 requests."""
    count = 3_000
    cohort = {"name": "jobs", "ttft_timeout_s": 80_000, "max_retries": retries, "backoff_initial_s": 0.5}
    scene = fleet(tmp_path, base_ms=1, each_ms=0, duration_s=400, cohorts=[cohort], gateway={"shed_share": share})
    _, memory = run(scene, jobs(count, 10.0, lambda rng: 1))
    expected = (1 - share ** (retries + 1)) / (1 - share)
    assert len(memory.attempts) / count == pytest.approx(expected, rel=0.04)


def late_goodput(tmp_path: Path, rho: float, *, dip: bool, retries: int, patience_s: float = 8.0) -> float:
    """Share of the requests of the last quarter that were answered. 4 slots, service 1 s, no cancelling; in the dip the
    replica computes at a fifth of its speed for a minute."""
    rate, duration = rho * 4, 900.0
    cohort = {"name": "jobs", "ttft_timeout_s": patience_s, "max_retries": retries, "backoff_initial_s": 0.5}
    slow = {"at_s": 100, "until_s": 160, "do": "set", "target": "replica:r0", "key": "speed", "value": 0.2}
    scene = fleet(
        tmp_path, base_ms=50, each_ms=0, duration_s=duration, cohorts=[cohort], replica={"max_running": 4},
        actions=[slow] if dip else [],
    )
    _, memory = run(scene, jobs(int(rate * duration), rate, lambda rng: 20))
    answered: dict[str, bool] = {}
    for record in memory.attempts:
        if record.attempt.arrival.at_ns >= 0.75 * duration * SECOND:
            key = record.attempt.request_id
            answered[key] = answered.get(key, False) or record.outcome == "ok"
    return sum(answered.values()) / len(answered)


def test_below_the_guaranteed_escape_a_dip_passes_and_far_above_it_stays(tmp_path: Path) -> None:
    """Escape is certain when rho0 < 1 / (1 + r phi). With two retries and all of a failed attempt wasted (phi = 1), that is
    1/3. Above it, it may stay: without retries the same load recovers."""
    assert late_goodput(tmp_path, 0.3, dip=True, retries=2) > 0.99
    assert late_goodput(tmp_path, 0.85, dip=False, retries=2) > 0.99
    assert late_goodput(tmp_path, 0.85, dip=True, retries=2) < 0.2
    assert late_goodput(tmp_path, 0.85, dip=True, retries=0) > 0.99


def test_fifo_with_patience_serves_the_dead_above_capacity(tmp_path: Path) -> None:
    """rho > 1: the wait goes to the patience, goodput to 0, though the replica is never idle."""
    assert late_goodput(tmp_path, 1.3, dip=False, retries=0) < 0.05
    assert late_goodput(tmp_path, 0.9, dip=False, retries=0) > 0.99


def test_the_erlang_c_of_the_textbook() -> None:
    """A check of the check: M/M/1 waits with probability rho, and M/M/2 with 2 rho^2 / (1 + rho)."""
    assert erlang_c(1, 0.6) == pytest.approx(0.6)
    assert erlang_c(2, 1.0) == pytest.approx(2 * 0.25 / 1.5)
    assert math.isclose(erlang_c(10, 5.0), 0.0361, abs_tol=1e-4)
