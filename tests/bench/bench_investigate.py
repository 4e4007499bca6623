"""What an investigation costs: ``python tests/bench/bench_investigate.py [STORE]``. CPU time of the process, all threads.

The yardstick is one plain scan of every value in requests, steps and samples, in the same process and taking turns, so
that the ratio says more than the machine's speed. Without a store a simulated fleet of four replicas is investigated, at
several lengths. Each figure is the least of several repeats.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis"))

from simulated_families import make_case
from simulated_fleet import Fleet
from simulated_tables import tables_of

from analysis.investigate import investigate
from analysis.queries import Tables
from collectors.schema import TABLES
from collectors.store import Store

REPEATS = 5
SCANNED = ("requests", "steps", "samples")
MINUTES = (15, 30, 60)


def scan(tables: Tables) -> int:
    """Read every value of every plain column once; returns the rows."""
    rows = 0
    for name in SCANNED:
        plain = [column.name for column in TABLES[name].columns if not str(column.type).startswith(("list", "map"))]
        row = tables.query(f"SELECT count(*) AS n, {', '.join(f'max({column})' for column in plain)} FROM {name}")
        rows += row.to_pylist()[0]["n"]
    return rows


def cpu_s(action: Callable[[Tables], object], tables: Tables) -> float:
    start = time.process_time_ns()
    action(tables)
    return (time.process_time_ns() - start) / 1e9


def measure(tables: Tables) -> tuple[float, float, int]:
    """Least CPU seconds of an investigation and of a scan, and the rows."""
    pairs = [(cpu_s(investigate, tables), cpu_s(scan, tables)) for _ in range(REPEATS)]
    return min(one for one, _ in pairs), min(other for _, other in pairs), scan(tables)


def report(name: str, tables: Tables) -> None:
    took, scanned, rows = measure(tables)
    print(f"{name:24} {rows:9d} {took:12.2f} s {scanned:8.3f} s {took / scanned:9.1f} {1e6 * took / rows:11.1f}")


def main(store: str | None) -> None:
    """Measure and print."""
    print("telemetry                     rows  investigation     scan     ratio  us per row")
    if store is not None:
        with Store.open(store) as source:
            report(store, source)
        return
    case = make_case("slow_index", 6)
    for minutes in MINUTES:
        plan = replace(case.plan, replicas=4, duration=60.0 * minutes)
        report(f"simulated, {minutes} minutes", tables_of(Fleet(plan).run(), case.events))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
