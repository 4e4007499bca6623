"""The ``requests`` table: the view of ``requests.sql``, and its rows kept for hours that are over.

An attempt belongs to the hour of its arrival. An hour is over when the latest event time seen is ten minutes past its
end, or the intake is closed; its attempts are then written to the Delta table, one commit for each hour, and the hour is
*clean*. A late span makes every clean hour dirty that its trace touches, and such an hour is written anew. Readers take
clean hours from the table and the view for all others, so they see each attempt once, whatever has been written.
A trace is looked for up to ``REACH_HOURS`` before and after an hour: attempts are taken to be shorter than that.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from collectors.live_views import create_view
from collectors.schema import ATTEMPT_COLUMNS, PHASES, REQUESTS, SPANS
from collectors.snapshot import Snapshot
from collectors.tables.delta_tables import DeltaTables
from collectors.tables.hours import HOUR, HOUR_NS, hour_name, hour_number

WATERMARK_NS = 600_000_000_000
REACH_HOURS = 6
SPANS_AT_ONCE = 1 << 20
"""Spans of an hour whose attempts are assembled at one time."""

_NEEDED = ", ".join(f'"{column.name}"' for column in SPANS.columns
                    if column.name not in ("attributes", "resource", "events", "links"))
_QUEUE_WITHOUT_TRANSFER = ("CASE WHEN h.queue_ns >= h.child_kv_transfer_ns THEN h.queue_ns - h.child_kv_transfer_ns "
                           "WHEN h.queue_ns < h.child_kv_transfer_ns THEN 0 END")
"""vLLM's time in queue nests the KV transfer that its child span tells apart."""

_TEMPLATE = Path(__file__).with_name("requests.sql").read_text(encoding="utf-8")


def requests_sql(spans: str = "spans") -> str:
    """The view's SQL over a table or view of spans by that name; columns as REQUESTS, in no order."""
    columns = ", ".join(f'"{column.name}"' for column in REQUESTS.columns)
    body = _TEMPLATE.format(
        spans=spans,
        attempt_columns=_listed(f"{_attempt_column(name)} AS {name}" for name in ATTEMPT_COLUMNS),
        phase_sums=_listed(f"CAST(sum(CASE WHEN phase = '{name[:-3]}' THEN ns END) AS BIGINT) AS {name}" for name in PHASES),
        any_phase=", ".join(f"{of}.{name}" for of in "sp" for name in PHASES),
        phase_columns=_listed(f"p.{name} AS child_{name}" for name in PHASES))
    return f"SELECT {columns} FROM (\n{body})"


def late_hours(connection: duckdb.DuckDBPyConnection, tables: DeltaTables, snapshot: Snapshot, spans: pa.Table) -> set[str]:
    """The clean hours that new spans, appended already, make dirty: all those where their traces have spans."""
    first = pc.min(spans.column("start_ns")).as_py() // HOUR_NS - REACH_HOURS
    near = [hour for hour in snapshot.clean_hours if hour_number(hour) >= first]
    if not near:
        return set()
    create_view(connection, "spans", "spans", tables.files("spans", [(HOUR, "in", near)]))
    connection.register("fresh", spans.select(["trace_hi", "trace_lo"]))
    rows = connection.execute(f"SELECT DISTINCT start_ns // {HOUR_NS} FROM spans SEMI JOIN fresh "
                              "USING (trace_hi, trace_lo)").fetchall()
    connection.unregister("fresh")
    return {hour_name(row[0]) for row in rows} & set(snapshot.clean_hours)


def hours_to_materialise(tables: DeltaTables, snapshot: Snapshot, *, all_hours: bool = False) -> list[str]:
    """The hours that are over (or all) and not clean, oldest first."""
    return sorted(hour for hour in tables.hours("spans") - set(snapshot.clean_hours)
                  if all_hours or (hour_number(hour) + 1) * HOUR_NS + WATERMARK_NS <= snapshot.watermark_ns)


def materialise_hour(connection: duckdb.DuckDBPyConnection, tables: DeltaTables, snapshot: Snapshot, hour: str) -> None:
    """Write the attempts of an hour, and mark it as clean in ``snapshot``. The caller publishes."""
    parts = (part for part in attempts_of_hour(connection, tables, hour) if part.num_rows)
    first = next(parts, None)
    if first is not None or hour in tables.hours("requests"):
        tables.replace_hour("requests", hour, itertools.chain([first] if first is not None else [], parts))
    snapshot.clean_hours = sorted({*snapshot.clean_hours, hour})


def attempts_of_hour(connection: duckdb.DuckDBPyConnection, tables: DeltaTables, hour: str) -> Iterator[pa.Table]:
    """The attempts that arrived in an hour, schema REQUESTS, each table sorted by arrival.

    An hour with very many spans is read several times, each time for a share of the traces: what bounds the memory. For the
    time being, ``connection`` has the spans of these traces, without what no attempt needs.
    """
    number = hour_number(hour)
    create_view(connection, "spans_near", "spans", tables.files("spans", [
        (HOUR, ">=", hour_name(number - REACH_HOURS)), (HOUR, "<=", hour_name(number + REACH_HOURS))]))
    spans = sum(file.rows for file in tables.live("spans") if file.hour == hour)
    shares = 1 + spans // SPANS_AT_ONCE
    for share in range(shares):
        ours = f"hash(trace_hi, trace_lo) % {shares} = {share}"
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE spans_of_hour AS SELECT {_NEEDED} FROM spans_near SEMI JOIN (SELECT trace_hi, "
            f"trace_lo FROM spans_near WHERE start_ns // {HOUR_NS} = {number} AND {ours}) touched USING (trace_hi, trace_lo)"
            f" WHERE {ours}")
        rows = connection.sql(
            f"SELECT * FROM ({requests_sql('spans_of_hour')}) WHERE arrival_ns // {HOUR_NS} = {number} "
            "ORDER BY arrival_ns, trace_hi, trace_lo, span_id").to_arrow_table()
        connection.execute("DROP TABLE spans_of_hour")
        yield rows.cast(REQUESTS.arrow)


def _listed(parts: Iterable[str]) -> str:
    return ",\n        ".join(parts)


def _attempt_column(name: str) -> str:
    """What fills a column of an attempt: its head ``h``, the head's child spans, then its engine's span ``e``."""
    if name in PHASES:
        own = f"{_QUEUE_WITHOUT_TRANSFER}, h.{name}" if name == "queue_ns" else f"h.{name}"
        return f"COALESCE(h.child_{name}, {own}, CASE WHEN h.any_phase_ns IS NULL THEN e.{name} END)"
    if name == "ttft_ns":
        return "h.ttft_ns"
    if name == "e2e_ns":
        return "COALESCE(h.e2e_ns, h.end_ns - h.start_ns)"
    if name == "outcome":
        return "COALESCE(h.outcome, CASE WHEN h.status_code = 2 THEN 'error' END)"
    if name == "replica":
        return "COALESCE(h.replica, e.replica, e.entity, CASE WHEN h.name = 'llm_request' THEN h.entity END)"
    return f"COALESCE(h.{name}, e.{name})"
