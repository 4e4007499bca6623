"""``rollups``: each minute once and as its samples say, whatever has been written and in whatever order they came."""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_store import BEGIN, MadeStore, Row, gauge, samples

from collectors.schema import ROLLUPS
from collectors.tables.hours import HOUR_NS, hour_name
from collectors.tables.rollups import MINUTE_NS, WATERMARK_NS, minutes_of_hour

SQL = "SELECT * FROM rollups ORDER BY series_id, minute_ns"
FIRST_HOUR = hour_name(BEGIN // HOUR_NS)


def expected(rows: list[Row]) -> list[Row]:
    """The minutes of these samples, by plain Python."""
    groups: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["series_id"], row["ts_ns"] // MINUTE_NS * MINUTE_NS].append(row)
    return [_minute(*key, groups[key]) for key in sorted(groups)]


def _minute(series: int, minute_ns: int, rows: list[Row]) -> Row:
    said = [row for row in rows if row["value"] is None or not math.isnan(row["value"])]
    numbers = [row for row in said if row["value"] is not None]
    values = [row["value"] for row in numbers]
    counts = [row["hist_count"] for row in rows if row.get("hist_count") is not None]
    deltas = [row["hist_deltas"] for row in rows if row.get("hist_deltas") is not None]
    alike = deltas and len({len(one) for one in deltas}) == 1
    return {"series_id": series, "minute_ns": minute_ns, "n": len(said),
            "min": min(values, default=None), "max": max(values, default=None), "sum": math.fsum(values) if values else None,
            "first": min(numbers, key=lambda row: (row["ts_ns"], row["value"]))["value"] if values else None,
            "last": max(numbers, key=lambda row: (row["ts_ns"], row["value"]))["value"] if values else None,
            "hist_count": sum(counts) if counts else None, "hist_sum": float(sum(counts)) if counts else None,
            "hist_deltas": [sum(column) for column in zip(*deltas, strict=True)] if alike else None}


@given(samples(), st.randoms(use_true_random=False))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_readers_see_what_the_samples_say_whatever_was_written_when(quick_path: Path, rows: list[Row], chance: Any) -> None:
    """Samples in any order, upkeep at any time or never, late ones for hours that were written."""
    with tempfile.TemporaryDirectory(dir=quick_path) as folder:
        store, taken = MadeStore(Path(folder) / "store"), 0
        while taken < len(rows):
            end = min(len(rows), taken + 1 + chance.randrange(2 + len(rows) // 2))
            store.put("samples", rows[taken:end])
            taken = end
            store.keep_up(chance.randrange(3))
            assert store.read(SQL) == expected(rows[:taken])
        store.keep_up(all_hours=True)
        assert store.read(SQL) == expected(rows)
        assert store.snapshot.rolled_hours == sorted({hour_name(row["ts_ns"] // HOUR_NS) for row in rows})


def test_an_hour_is_written_ten_minutes_after_its_end_and_anew_for_a_late_sample(quick_path: Path) -> None:
    store = MadeStore(quick_path / "s")
    store.put("samples", [gauge(1, 0, 1.0), gauge(1, HOUR_NS + WATERMARK_NS - 1, 2.0)])
    assert store.keep_up() == [] and store.tables.hours("rollups") == set()
    store.put("samples", [gauge(1, HOUR_NS + WATERMARK_NS, 3.0)])
    assert f"wrote the minutes of {FIRST_HOUR}" in store.keep_up() and store.snapshot.rolled_hours == [FIRST_HOUR]
    store.put("samples", [gauge(1, 5, 7.0)])
    assert store.snapshot.rolled_hours == []
    assert store.read(f"{SQL} LIMIT 1")[0]["max"] == 7.0
    version = store.tables.versions()["rollups"]
    store.keep_up()
    assert store.tables.versions()["rollups"] == version + 1 and store.snapshot.rolled_hours == [FIRST_HOUR]
    assert store.read(f"{SQL} LIMIT 1")[0]["max"] == 7.0


def test_an_hour_of_very_many_samples_is_reckoned_in_slices(quick_path: Path, monkeypatch: Any) -> None:
    """Fewer samples at a time give the same minutes, in files of consecutive ones."""
    rows = [gauge(series, minute * MINUTE_NS + 5, float(minute)) for minute in range(60) for series in (1, 2)]
    store = MadeStore(quick_path / "s")
    store.put("samples", rows)
    monkeypatch.setattr("collectors.tables.rollups._SLICE_ROWS", 30)
    parts = list(minutes_of_hour(store.duckdb, store.tables, FIRST_HOUR))
    assert [part.num_rows for part in parts] == [30] * 4
    assert all(part.schema == ROLLUPS.arrow for part in parts)
    starts = [part.column("minute_ns")[0].as_py() for part in parts]
    assert starts == sorted(starts)
    store.keep_up(1, all_hours=True)
    assert len(store.tables.live("rollups")) == 4
    assert store.read(SQL) == expected(rows)
    store.keep_up(all_hours=True)
    assert len(store.tables.live("rollups")) == 1 and store.read(SQL) == expected(rows)


def test_a_nan_among_numbers_is_known_as_one(quick_path: Path) -> None:
    """A file's statistics must not hide it: DuckDB would take them for all values."""
    rows = [gauge(1, at, float("nan") if at == 3 else 0.0) for at in range(6)]
    store = MadeStore(quick_path / "s")
    store.put("samples", rows)
    assert store.read("SELECT count(*) AS n FROM samples WHERE isnan(value)") == [{"n": 1}]
    assert store.read(SQL) == expected(rows)
