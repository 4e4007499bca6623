"""The ``requests`` table: the view of ``requests.sql``, and its rows kept for hours that are over.

An attempt belongs to the hour of its arrival. An hour is over when the latest event time seen is ten minutes past its
end, or the intake is closed; its attempts are then written to the Delta table, one commit for each hour, and the hour is
*clean*. A late span makes every clean hour dirty that its trace touches, and such an hour is written anew. Readers take
clean hours from the table and the view for all others, so they see each attempt once, whatever has been written.
A trace is looked for up to ``REACH_HOURS`` before and after an hour: attempts are taken to be shorter than that.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from collectors.delta_tables import DeltaTables, table_path
from collectors.hours import HOUR, HOUR_NS, hour_name, hour_number
from collectors.live_views import create_view, live_files, open_duckdb
from collectors.schema import ATTEMPT_COLUMNS, PHASES, REQUESTS
from collectors.snapshot import Snapshot

WATERMARK_NS = 600_000_000_000
REACH_HOURS = 6

_TEMPLATE = Path(__file__).with_name("requests.sql").read_text(encoding="utf-8")


def requests_sql(spans: str = "spans") -> str:
    """The view's SQL over a table or view of spans by that name; columns as REQUESTS, in no order."""
    columns = ", ".join(f'"{column.name}"' for column in REQUESTS.columns)
    body = _TEMPLATE.format(
        spans=spans,
        root_or_engine=_listed(_root_or_engine(name) for name in ATTEMPT_COLUMNS),
        base_or_phases=_listed(_base_or_phases(name) for name in ATTEMPT_COLUMNS),
        phase_sums=_listed(f"CAST(sum(CASE WHEN phase = '{name[:-3]}' THEN end_ns - start_ns END) AS BIGINT) AS {name}"
                           for name in PHASES),
        phase_columns=_listed(f"p.{name} AS child_{name}" for name in PHASES))
    return f"SELECT {columns} FROM (\n{body})"


def late_hours(store: Path, tables: DeltaTables, snapshot: Snapshot, spans: pa.Table) -> set[str]:
    """The clean hours that new spans make dirty: their own, and those where their traces have spans already."""
    numbers = {int(number) for number in spans.column("start_ns").to_numpy() // HOUR_NS}
    first = min(numbers) - REACH_HOURS
    near = [hour for hour in snapshot.clean_hours if hour_number(hour) >= first]
    files = live_files(store, "spans", tables.versions().get("spans"), [(HOUR, "in", near)]) if near else []
    touched: set[str] = {hour_name(number) for number in numbers}
    with open_duckdb() as connection:
        create_view(connection, "spans", "spans", files)
        connection.register("fresh", spans.select(["trace_hi", "trace_lo"]))
        rows = connection.execute(f"SELECT DISTINCT start_ns // {HOUR_NS} FROM spans SEMI JOIN fresh "
                                  "USING (trace_hi, trace_lo)").fetchall()
    return (touched | {hour_name(row[0]) for row in rows}) & set(snapshot.clean_hours)


def materialise(store: Path, tables: DeltaTables, snapshot: Snapshot, *, all_hours: bool = False) -> list[str]:
    """Write the attempts of every hour that is over (or of ``all_hours``) and not clean; returns those hours.

    The caller publishes."""
    version = tables.versions().get("spans")
    if version is None:
        return []
    over = [hour for hour in hours_of(store, "spans", version) - set(snapshot.clean_hours)
            if all_hours or (hour_number(hour) + 1) * HOUR_NS + WATERMARK_NS <= snapshot.watermark_ns]
    for hour in sorted(over):
        rows = attempts_of_hour(store, version, hour)
        if rows.num_rows or hour in hours_of(store, "requests", tables.versions().get("requests")):
            tables.replace_hour("requests", hour, rows)
    snapshot.clean_hours = sorted([*snapshot.clean_hours, *over])
    return over


def attempts_of_hour(store: Path, spans_version: int, hour: str) -> pa.Table:
    """The attempts that arrived in an hour, schema REQUESTS, sorted by arrival."""
    number = hour_number(hour)
    files = live_files(store, "spans", spans_version, [
        (HOUR, ">=", hour_name(number - REACH_HOURS)), (HOUR, "<=", hour_name(number + REACH_HOURS))])
    with open_duckdb() as connection:
        create_view(connection, "spans", "spans", files)
        rows = connection.sql(
            f"SELECT * FROM ({requests_sql()}) WHERE arrival_ns // {HOUR_NS} = {number} "
            "ORDER BY arrival_ns, trace_hi, trace_lo, span_id").to_arrow_table()
    return rows.cast(REQUESTS.arrow)


def hours_of(store: Path, name: str, version: int | None) -> set[str]:
    """The hours that a partitioned table has rows of, at a version (None: there is no table)."""
    if version is None:
        return set()
    return {str(part[HOUR]) for part in DeltaTable(table_path(store, name), version=version).partitions()}


def _listed(parts: object) -> str:
    return ",\n        ".join(parts)  # type: ignore[arg-type]


def _root_or_engine(name: str) -> str:
    if name in ("ttft_ns", "e2e_ns"):
        return f"r.{name} AS {name}"
    if name == "outcome":
        return "COALESCE(r.outcome, CASE WHEN r.status_code = 2 THEN 'error' END) AS outcome"
    if name == "replica":
        return ("COALESCE(r.replica, e.replica, e.entity, CASE WHEN r.name = 'llm_request' THEN r.entity END)"
                " AS replica")
    return f"COALESCE(r.{name}, e.{name}) AS {name}"


def _base_or_phases(name: str) -> str:
    if name in PHASES:
        return f"COALESCE(b.{name}, b.child_{name}) AS {name}"
    if name == "e2e_ns":
        return "b.end_ns - b.start_ns AS e2e_ns"
    if name == "outcome":
        return "COALESCE(b.outcome, CASE WHEN b.status_code = 2 THEN 'error' END) AS outcome"
    if name == "replica":
        return "COALESCE(b.replica, CASE WHEN b.name = 'llm_request' THEN b.entity END) AS replica"
    return f"b.{name} AS {name}"
