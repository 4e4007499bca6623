"""A simulated fleet's outcome as a store: the contract's tables in memory, which the analysis takes for any other store.

``MemoryTables`` holds whatever columns it is given, the rest is NULL; ``tables_of`` fills one from a fleet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
from simulated_fleet import BLOCK, Attempt, Fleet

from collectors.schema import TABLES

START_NS = 1_750_000_000_000_000_000
COHORT, GATEWAY, ROUTER, INDEX = "cohort:users", "gateway:front", "router:picker", "kv_index:map"
Columns = Mapping[str, Sequence[Any]]
Event = tuple[float, str, str, str]
"""Seconds, kind, entity, summary."""


class MemoryTables:
    """Tables of the contract in a DuckDB in memory, or in the file ``path``; ``connection`` is open to whoever wants to damage
    them."""

    def __init__(self, tables: Mapping[str, Columns], path: str = ":memory:") -> None:
        self.warnings: list[str] = []
        self.connection = duckdb.connect(path)
        self.connection.execute("SET threads = 1")
        for name, table in TABLES.items():
            columns = tables.get(name, {})
            count = len(next(iter(columns.values()), ()))
            arrays = [
                pa.array(columns[c.name], c.type) if c.name in columns else pa.nulls(count, c.type) for c in table.columns
            ]
            rows = pa.Table.from_arrays(arrays, schema=table.arrow)
            self.connection.register("incoming", rows)
            self.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")
            self.connection.unregister("incoming")

    def query(self, sql: str, params: Any = None) -> pa.Table:
        return self.connection.sql(sql, params=params).to_arrow_table()

    def frame(self, sql: str, params: Any = None) -> pl.DataFrame:
        frame = pl.from_arrow(self.query(sql, params))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def change(self, *statements: str) -> MemoryTables:
        """Run statements on the tables; returns itself."""
        for statement in statements:
            self.connection.execute(statement)
        return self


def by_column(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Rows with the same keys as columns."""
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def tables_of(
    fleet: Fleet, events: Iterable[Event] = (), *, start_ns: int = START_NS, name: Callable[[str], str] = str
) -> MemoryTables:
    """What a collector would have stored of the run. ``name`` renames entities."""

    def ns(seconds: float) -> int:
        return start_ns + round(seconds * 1e9)

    def replica(number: int) -> str:
        return name(f"replica:{number}")

    ended = [attempt for attempt in fleet.attempts if attempt.end is not None]
    requests = [_request(attempt, ns, replica, name) for attempt in sorted(ended, key=lambda a: a.arrival)]
    steps = [
        {
            "replica": replica(step["replica"]), "step_id": number, "start_ns": ns(step["start"]),
            "duration_ns": round(step["duration"] * 1e9), "prefill_tokens": step["prefill"],
            "decode_tokens": step["decode"], "running": step["running"], "waiting": step["waiting"],
            "kv_used_blocks": min(step["used"], fleet.plan.cache_blocks), "kv_total_blocks": fleet.plan.cache_blocks,
            "kv_evicted_blocks": step["evicted"], "preempted": 0, "recomputed_tokens": 0,
        }
        for number, step in enumerate(fleet.steps)
    ]  # fmt: skip
    log = [{"ts_ns": ns(at), "kind": kind, "entity": name(entity), "summary": text} for at, kind, entity, text in events]
    replicas = [replica(number) for number in range(fleet.plan.replicas)]
    return MemoryTables({
        "requests": by_column(requests), "steps": by_column(steps), "events": by_column(log),
        **_samples(fleet, ns, replica, name), "edges": by_column(_edges(replicas, name, ns(0.0), ns(fleet.now))),
    })  # fmt: skip


def _request(
    attempt: Attempt, ns: Callable[[float], int], replica: Callable[[int], str], name: Callable[[str], str]
) -> dict[str, Any]:
    assert attempt.end is not None
    ok, placed, ran = attempt.outcome == "ok", attempt.replica >= 0, attempt.started is not None
    started = min(attempt.end, attempt.started) if attempt.started is not None else attempt.end
    first = min(attempt.end, attempt.first) if attempt.first is not None else attempt.end
    marks = [ns(at) for at in (attempt.arrival, started if placed else attempt.arrival, first, attempt.end)]
    return {
        "arrival_ns": marks[0], "end_ns": marks[3], "trace_hi": 7, "trace_lo": attempt.request,
        "span_id": attempt.request * 16 + attempt.number, "gateway": name(GATEWAY),
        "request_id": f"q{attempt.request}", "attempt": attempt.number, "cohort": name(COHORT).partition(":")[2],
        "session": f"s{attempt.session}", "user_hash": attempt.session, "replica": replica(attempt.replica) if placed else None,
        "outcome": attempt.outcome, "prompt_tokens": attempt.prompt,
        "predicted_blocks": attempt.predicted if placed else None, "hit_blocks": attempt.hit if ran else None,
        "prompt_blocks": attempt.prompt // BLOCK,
        "gateway_ns": 0 if placed else marks[3] - marks[0],
        "queue_ns": marks[1] - marks[0] if placed else 0, "prefill_ns": marks[2] - marks[1] if placed else 0,
        "decode_ns": marks[3] - marks[2] if placed else 0,
        "ttft_ns": marks[2] - marks[0] if ok else None, "e2e_ns": marks[3] - marks[0],
        "busy_ns": round(attempt.busy * 1e9), "wasted_ns": round((attempt.wasted if ok else attempt.busy) * 1e9),
    }  # fmt: skip


_SIGNALS = {"lag": "kv_index.lag", "lag_events": "kv_index.lag_events", "applied": "kv_index.applied",
            "dumps": "kv_index.dumps"}


def _samples(
    fleet: Fleet, ns: Callable[[float], int], replica: Callable[[int], str], name: Callable[[str], str]
) -> dict[str, Columns]:
    """Scrapes; of the index under the names that dialects give them, of the rest under none."""
    entities = {"kv_index": name(INDEX), "gateway": name(GATEWAY)}
    numbers: dict[tuple[str, str], int] = {}
    series, samples = [], []
    for at, source, signal, kind, value in fleet.samples:
        key = (source, signal)
        if key not in numbers:
            numbers[key] = len(numbers) + 1
            entity = entities.get(source) or replica(int(source.partition(":")[2]))
            known = _SIGNALS[signal] if source == "kv_index" else None
            series.append({"series_id": numbers[key], "name": signal, "entity": entity, "signal": known, "type": kind})
        samples.append({"series_id": numbers[key], "ts_ns": ns(at), "value": value})
    return {"series": by_column(series), "samples": by_column(samples)}


def _edges(replicas: Sequence[str], name: Callable[[str], str], first_ns: int, last_ns: int) -> list[dict[str, Any]]:
    gateway, router, index = name(GATEWAY), name(ROUTER), name(INDEX)
    pairs = [
        (gateway, router, "calls"), (router, index, "calls"), (name(COHORT), gateway, "retries_of"),
        *((router, one, "routes_to") for one in replicas), *((gateway, one, "routes_to") for one in replicas),
        *((one, index, "syncs_kv") for one in replicas),
    ]  # fmt: skip
    return [
        {"src": src, "dst": dst, "kind": kind, "first_seen_ns": first_ns, "last_seen_ns": last_ns, "count": 1}
        for src, dst, kind in pairs
    ]
