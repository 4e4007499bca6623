"""How the cost of an investigation grows: ``python tests/bench/bench_scale.py [MILLIONS ...]`` (0.1 and 1 unless told; ten
take half an hour and 7 GB of disk).

For each size one process makes that many requests, a step for every five of them and twenty samples for each, of a fleet of 32
replicas in two hours with an outage in the second, in a DuckDB file; a second one, with one thread and ``LIMIT`` for DuckDB,
investigates them. Printed are CPU seconds, the second process's memory at its peak beyond what it had with the file open, and
CPU seconds per million requests, which must not grow.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis"))

import duckdb
from simulated_tables import START_NS, MemoryTables

from analysis.investigate import investigate

REPLICAS, SECONDS, SERIES = 32, 7200, 40
LIMIT = "2GB"
"""What DuckDB may hold in memory; beyond it, it uses the disk."""
OUTAGE_S = 4000
"""From here on one replica takes ten times as long, and what is sent there fails."""


def make(requests: int, path: str) -> None:
    """The tables: arithmetic instead of chance, so that a size is always the same."""
    tables = MemoryTables({}, path)
    tables.connection.execute(f"SET memory_limit = '{LIMIT}'; SET preserve_insertion_order = false")
    each_ns = SECONDS * 1_000_000_000 // requests
    at = f"{START_NS} + i * {each_ns}"
    bad = f"(i * {each_ns} > {OUTAGE_S}000000000 AND i % 3 = 0)"
    tables.connection.execute(f"""
        INSERT INTO requests BY NAME
        SELECT {at} AS arrival_ns, {at} + CASE WHEN {bad} THEN 25000000000 ELSE 3000000000 END AS end_ns, 1 AS trace_hi,
            i AS trace_lo, i AS span_id, 'gateway:g' AS gateway, 'replica:' || (i % {REPLICAS}) AS replica, 1 AS attempt,
            'chat' AS cohort, i // 7 AS user_hash, CASE WHEN {bad} THEN 'timeout' ELSE 'ok' END AS outcome,
            500 + (i * 7919) % 900 AS prompt_tokens, 100 AS output_tokens, 20 AS prompt_blocks, 10 AS hit_blocks,
            10 AS predicted_blocks, CASE WHEN {bad} THEN NULL ELSE 400000000 + (i * 31) % 200000000 END AS ttft_ns,
            3000000000 AS e2e_ns, 200000000 AS queue_ns, 200000000 AS prefill_ns, 2000000000 AS decode_ns,
            300000000 AS busy_ns, 0 AS wasted_ns
        FROM range({requests}) t(i)""")
    tables.connection.execute(f"""
        INSERT INTO steps BY NAME
        SELECT 'replica:' || (i % {REPLICAS}) AS replica, i AS step_id, {START_NS} + i * {5 * each_ns} AS start_ns,
            CASE WHEN i % {REPLICAS} = 3 AND i * {5 * each_ns} > {OUTAGE_S}000000000 THEN 10 ELSE 1 END
                * (20000000 + 4000 * ((i * 7919) % 2000)) AS duration_ns,
            (i * 7919) % 2000 AS prefill_tokens, 30 AS decode_tokens, 20 AS running, 1 AS waiting, 500 AS kv_used_blocks,
            1000 AS kv_total_blocks, 0 AS kv_evicted_blocks, 0 AS recomputed_tokens
        FROM range({requests // 5}) t(i)""")
    tables.connection.execute(f"""
        INSERT INTO series BY NAME
        SELECT i AS series_id, 'm' || i AS name, CASE WHEN i % 2 = 0 THEN 'kv.usage' ELSE 'kv.prefix_queries' END AS signal,
            'replica:' || (i % {REPLICAS}) AS entity, 'counter' AS type
        FROM range({SERIES}) t(i)""")
    tables.connection.execute(f"""
        INSERT INTO samples BY NAME
        SELECT i % {SERIES} AS series_id, {START_NS} + (i // {SERIES}) * {each_ns * SERIES // 20} AS ts_ns,
            CAST(i AS DOUBLE) AS value
        FROM range({20 * requests}) t(i)""")
    tables.connection.execute(f"""
        INSERT INTO edges BY NAME
        SELECT 'gateway:g' AS src, 'replica:' || i AS dst, 'routes_to' AS kind, 1 AS count FROM range({REPLICAS}) t(i)""")
    tables.connection.close()


class FileTables(MemoryTables):
    """The tables that ``make`` left in a file."""

    def __init__(self, path: str) -> None:
        self.warnings = []
        self.connection = duckdb.connect(path, read_only=True)
        self.connection.execute(f"SET threads = 1; SET memory_limit = '{LIMIT}'")


def look(requests: int, path: str) -> None:
    """Investigate, print."""
    tables = FileTables(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    found = investigate(tables)
    took = time.process_time() - begun
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
    best = found.triggers[0] if found.triggers else None
    named = "nothing" if best is None else f"{best.entity} {best.mechanism}"
    each = took / requests * 1e6
    print(f"{requests / 1e6:9.1f} {20 * requests / 1e6:11.1f} {took:10.1f} {more:13.2f} {each:16.1f}   {named}")


def main(millions: list[str]) -> None:
    """Two processes for each size."""
    print("M requests   M samples      CPU s   GB more peak   CPU s a million   named", flush=True)
    for million in millions:
        with tempfile.TemporaryDirectory() as folder:
            for part in ("--make", "--look"):
                size, path = str(round(float(million) * 1e6)), f"{folder}/tables.duckdb"
                subprocess.run([sys.executable, __file__, part, size, path], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(int(sys.argv[2]), sys.argv[3])
    elif sys.argv[1:2] == ["--look"]:
        look(int(sys.argv[2]), sys.argv[3])
    else:
        main(sys.argv[1:] or ["0.1", "1"])
