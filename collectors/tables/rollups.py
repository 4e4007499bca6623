"""The ``rollups`` table: each series' minutes, and their rows kept for hours that are over.

A minute is that of its samples' own time. An hour is over when the latest sample seen is ten minutes past its end, or the
intake is closed; its minutes are then written to the Delta table in one commit, and the hour is *rolled*. A late sample takes
it back, and the hour is written anew. Readers take rolled hours from the table and reckon all others from samples, so that
they see each minute once and as its samples say, whatever has been written.

A value that is not a number says nothing of a minute: NaN is left out of every column and of ``n``; a minute of NaN alone is
a row with n = 0. Infinities are values. Among samples of one series and time the least value is the first and the greatest
the last. Sums are taken in the order of time, so that they are the same to the last bit whenever they are reckoned. Bucket
deltas are added where all of a minute's samples have equally many buckets, else they are NULL.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa

from collectors.live_views import create_view
from collectors.schema import ROLLUPS
from collectors.snapshot import Snapshot
from collectors.tables.delta_tables import DeltaTables
from collectors.tables.hours import HOUR, HOUR_NS, hour_name, hour_number, latest_of

MINUTE_NS = 60_000_000_000
WATERMARK_NS = 600_000_000_000
_SLICE_ROWS = 1 << 23
"""Samples whose minutes are reckoned at one time: what bounds the memory of an hour with very many."""

_MINUTE = f"ts_ns // {MINUTE_NS} * {MINUTE_NS}"
_NUMBER = "FILTER (value IS NOT NULL AND NOT isnan(value))"
_BUCKETS = """CASE WHEN min(len(hist_deltas)) = max(len(hist_deltas)) THEN list_transform(range(1, max(len(hist_deltas)) + 1),
    lambda place: CAST(list_sum(list_transform(list(hist_deltas) FILTER (hist_deltas IS NOT NULL),
        lambda deltas: deltas[place])) AS BIGINT)) END"""


def rollups_sql(samples: str = "samples") -> str:
    """The minutes of a table or view of samples by that name; columns as ROLLUPS, in no order."""
    return f"""SELECT series_id, {_MINUTE} AS minute_ns,
    count(*) FILTER (value IS NULL OR NOT isnan(value)) AS n,
    min(value) {_NUMBER} AS "min", max(value) {_NUMBER} AS "max", sum(value ORDER BY ts_ns, value) {_NUMBER} AS "sum",
    (min({{'at': ts_ns, 'value': value}}) {_NUMBER}).value AS "first",
    (max({{'at': ts_ns, 'value': value}}) {_NUMBER}).value AS "last",
    CAST(sum(hist_count) AS BIGINT) AS hist_count, sum(hist_sum ORDER BY ts_ns, hist_sum) AS hist_sum,
    {_BUCKETS} AS hist_deltas
FROM {samples} GROUP BY series_id, {_MINUTE}"""


def note_samples(snapshot: Snapshot, samples: pa.Table, latest_ns: int) -> None:
    """Take in that samples came: how late it is by their times, and which rolled hours they belong to. Times after
    ``latest_ns`` say nothing of how late it is."""
    times = samples.column("ts_ns")
    snapshot.sample_watermark_ns = latest_of(times, latest_ns, snapshot.sample_watermark_ns)
    if snapshot.rolled_hours:
        late = {hour_name(int(number)) for number in np.unique(times.to_numpy() // HOUR_NS)}
        snapshot.rolled_hours = [hour for hour in snapshot.rolled_hours if hour not in late]


def hours_to_roll(tables: DeltaTables, snapshot: Snapshot, *, all_hours: bool = False) -> list[str]:
    """The hours that are over (or all) and not rolled, oldest first."""
    return sorted(hour for hour in tables.hours("samples") - set(snapshot.rolled_hours)
                  if all_hours or (hour_number(hour) + 1) * HOUR_NS + WATERMARK_NS <= snapshot.sample_watermark_ns)


def roll_hour(connection: duckdb.DuckDBPyConnection, tables: DeltaTables, snapshot: Snapshot, hour: str) -> None:
    """Write the minutes of an hour, and mark it as rolled in ``snapshot``. The caller publishes."""
    tables.replace_hour("rollups", hour, minutes_of_hour(connection, tables, hour))
    snapshot.rolled_hours = sorted({*snapshot.rolled_hours, hour})


def minutes_of_hour(connection: duckdb.DuckDBPyConnection, tables: DeltaTables, hour: str) -> Iterator[pa.Table]:
    """The rows of an hour, schema ROLLUPS, each table sorted by series and minute; later tables hold later minutes."""
    begin = hour_number(hour) * HOUR_NS
    create_view(connection, "samples_of_hour", "samples", tables.files("samples", [(HOUR, "=", hour)]))
    count = sum(file.rows for file in tables.live("samples") if file.hour == hour)
    minutes = max(1, min(60, 60 * _SLICE_ROWS // max(count, 1)))
    for first in range(0, 60, minutes):
        low, high = begin + first * MINUTE_NS, begin + min(60, first + minutes) * MINUTE_NS
        connection.execute("CREATE OR REPLACE VIEW samples_of_slice AS SELECT * FROM samples_of_hour "
                           f"WHERE ts_ns >= {low} AND ts_ns < {high}")
        yield connection.sql(f"{rollups_sql('samples_of_slice')} ORDER BY series_id, minute_ns").to_arrow_table().cast(
            ROLLUPS.arrow)
