"""What the cluster costs: ``python tests/bench/bench_cluster.py``. CPU time of one thread; each figure the best of its runs.

1. Requests simulated per CPU-second at chat lengths (Azure's conversation trace: 1,173 tokens in, 254 out), the plain
   fleet and the one with every mechanism on, taking turns. Target: 1,500 with everything on.
2. Eight replicas under the load of the shipped scenario, with ``recorded`` and with ``torch``: virtual seconds per CPU
   second. Targets: 100 and 10.
3. 1,000, 10,000 and 100,000 requests: CPU time per request and peak memory, each in a process of its own. Neither grows.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collectors.sink import Signal
from incidents.replay import RunnerName, play
from instrumented_engine.clients.traces import read_trace, shipped_workloads
from instrumented_engine.scenario import Scenario

FLEET: dict[str, Any] = {
    "title": "bench", "duration_s": 295, "seed": 1,
    "workload": {"file": "azure_conv_2023", "prompt_scale": 1 / 32, "output_scale": 1 / 4, "compress": 3.0},
    "cluster": {"replicas": 8}, "replica": {"kv_blocks": 16_384, "block_tokens": 16},
}
EVERYTHING: dict[str, Any] = {
    "cohorts": [
        {"name": "chat", "via": "chat", "share": 3, "retry": "refresh"},
        {"name": "api", "tier": "paid", "share": 1, "content": "code"},
    ],
    "regions": [{"name": "eu", "replicas": 4}, {"name": "us", "replicas": 4}],
    "links": [{"between": ["eu", "us"]}], "traffic_manager": {},
    "router": {"replicas": 2, "replica_sync": True},
    "gateway": {"max_concurrency": 2_000, "tiers": [{"name": "free", "max_concurrency": 1_500}]},
    "metadata_master": {}, "experts": {"rebalance": "async", "redundant": 4, "interval_s": 60}, "speculative": {},
    "disaggregation": {"prefill": 2}, "hardware": {}, "control_plane": {"probes": "heartbeat"}, "chat_tier": {},
}
"""Tables that switch the mechanisms on, beside those of ``FLEET``."""

SHIPPED: dict[str, Any] = {
    "title": "bench", "duration_s": 3_000, "warm_up_s": 600, "seed": 1,
    "workload": {"prompt_scale": 1 / 128, "output_scale": 1 / 4, "ramp_s": 420},
    "cohorts": [{"name": "chat", "ttft_timeout_s": 25}],
    "cluster": {"replicas": 8}, "replica": {"kv_blocks": 65_536, "block_tokens": 4},
    "kv_index": {"writer_ops_per_s": 260},
}
"""The shipped scenario's fleet and load per replica, twice as many replicas, no fault."""


class Nowhere:
    """Takes bodies and forgets them."""

    def put(self, signal: Signal, body: bytes) -> None:
        pass

    def sync(self) -> None:
        pass


def cost(data: dict[str, Any], runner: RunnerName = "recorded") -> tuple[int, float, float]:
    """Requests, virtual seconds and CPU seconds of one run."""
    scenario = Scenario.model_validate(data)
    gc.collect()
    start = time.thread_time()
    played = play(scenario, Nowhere(), runner)
    return played.requests, scenario.duration_s + scenario.warm_up_s, time.thread_time() - start


def throughput() -> None:
    """Plain and everything on, taking turns."""
    best: dict[str, float] = {}
    for _ in range(3):
        for name, tables in (("plain", {}), ("everything on", EVERYTHING)):
            requests, _, cpu_s = cost({**FLEET, **tables})
            best[name] = max(best.get(name, 0.0), requests / cpu_s)
    plain, full = best["plain"], best["everything on"]
    print(f"requests per CPU-second, chat lengths: plain {plain:.0f}, everything on {full:.0f} (ratio {plain / full:.2f})")


def speed() -> None:
    """Eight replicas for an hour with ``recorded``, for ten minutes with ``torch``."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.jsonl"
        an_hour_of_conversations(trace)
        data = {**SHIPPED, "workload": {**SHIPPED["workload"], "file": str(trace)}}
        requests, virtual_s, cpu_s = cost(data)
        print(f"recorded: {requests} requests, {virtual_s:.0f} s in {cpu_s:.1f} CPU s: {virtual_s / cpu_s:.0f} x real time")
        requests, virtual_s, cpu_s = cost({**data, "duration_s": 300, "warm_up_s": 300}, "torch")
        print(f"torch S:  {requests} requests, {virtual_s:.0f} s in {cpu_s:.1f} CPU s: {virtual_s / cpu_s:.1f} x real time")


def an_hour_of_conversations(path: Path) -> None:
    """Mooncake's conversations at 2.12 times their rate, three times over; each time with block ids of its own."""
    rows = list(read_trace(shipped_workloads()["mooncake_conversation"]))
    length_s, ids = rows[-1].at_s / 2.12, max(max(row.hash_ids) for row in rows) + 1
    with path.open("w") as out:
        for turn in range(3):
            for row in rows:
                at_ms = round((turn * length_s + row.at_s / 2.12) * 1e3)
                out.write(json.dumps({
                    "timestamp": at_ms, "input_length": row.prompt_tokens, "output_length": row.output_tokens,
                    "hash_ids": [turn * ids + i for i in row.hash_ids],
                }) + "\n")


def growth() -> None:
    """Requests ten times and a hundred times as many."""
    print("requests    CPU s    us/request    peak MB")
    for count in (1_000, 10_000, 100_000):
        done = subprocess.run([sys.executable, __file__, str(count)], capture_output=True, text=True, check=True)
        print(done.stdout, end="")


def one(count: int) -> None:
    """Run about ``count`` requests: the trace over and over, at one rate, on KV pools that 7,000 requests fill."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.csv"
        rows = repeated(trace, count)
        data = {
            **FLEET, "duration_s": rows / 6.0, "workload": {**FLEET["workload"], "file": str(trace), "compress": 1.0},
            "replica": {"kv_blocks": 2_048, "block_tokens": 16},
        }
        requests, _, cpu_s = cost(data)
    print(f"{requests:8d} {cpu_s:8.1f} {cpu_s / requests * 1e6:13.0f} {peak_mb():10.0f}")


def peak_mb() -> float:
    """Peak resident memory of this process; ``getrusage`` would count the parent's from before ``exec`` too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def repeated(path: Path, count: int) -> int:
    """Write ``count`` rows in Azure's format, six a second, with the lengths of the shipped excerpt in turn."""
    lengths = [(row.prompt_tokens, row.output_tokens) for row in read_trace(shipped_workloads()["azure_conv_2023"])]
    begin = datetime(2023, 11, 16)
    with path.open("w") as out:
        out.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for number in range(count):
            prompt, output = lengths[number % len(lengths)]
            out.write(f"{begin + timedelta(seconds=number / 6)!s},{prompt},{output}\n")
    return count


def main() -> None:
    """Measure and print."""
    throughput()
    speed()
    growth()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        one(int(sys.argv[1]))
    else:
        main()
