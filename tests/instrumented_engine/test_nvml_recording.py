"""The NVML recording is a real card's: its counters agree with each other."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

RECORDING = Path(__file__).parents[1] / "fixtures/nvml/h200.jsonl.gz"


def samples() -> list[dict[str, Any]]:
    lines = gzip.decompress(RECORDING.read_bytes()).decode().splitlines()
    return [json.loads(line) for line in lines[1:]]


def test_energy_is_the_integral_of_power() -> None:
    told = samples()
    joules = sum(
        (b["ts_ns"] - a["ts_ns"]) / 1e9 * (a["power_mw"]["value"] + b["power_mw"]["value"]) / 2 / 1e3 for a, b in pairwise(told)
    )
    energy = [one["energy_mj"]["value"] for one in told]
    assert energy == sorted(energy)
    assert abs((energy[-1] - energy[0]) / 1e3 / joules - 1) < 0.01


def test_utilisation_does_not_tell_copying_from_computing_and_power_does() -> None:
    told = samples()
    busy = {phase: [one for one in told if one["phase"] == phase] for phase in ("matmul", "copy")}
    assert all(mean(one["utilization"]["value"]["gpu"] for one in part) > 90 for part in busy.values())
    watts = {phase: mean(one["power_mw"]["value"] for one in part) / 1e3 for phase, part in busy.items()}
    assert watts["matmul"] > 4 * watts["copy"]
    assert any(one["event_reasons"]["value"] & 4 for one in busy["matmul"]), "the software power cap"
