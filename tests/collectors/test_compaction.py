"""Which files are joined: few stay, each row is rewritten seldom, no file outgrows its bound."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_store import BEGIN, MadeStore, Row, gauge

from collectors.tables.compaction import TOGETHER, join, most_rows, worth_joining
from collectors.tables.data_files import DataFile

ROWS = st.one_of(st.integers(1, 50), st.integers(1, 5000), st.integers(1, 600_000))
FILES = st.lists(ROWS, max_size=60).map(
    lambda rows: [DataFile(f"f{at}", 20 * count, count, "2026-03-29T13", at, at) for at, count in enumerate(rows)])


def joined(name: str, files: list[DataFile], chosen: list[DataFile], number: int) -> list[DataFile]:
    """The files after a join."""
    new = DataFile(f"j{number}", sum(file.size for file in chosen), sum(file.rows for file in chosen), chosen[0].hour,
                   min(file.first_ns or 0 for file in chosen), max(file.last_ns or 0 for file in chosen))
    return [file for file in files if file not in chosen] + [new]


def settle(name: str, files: list[DataFile], *, over: bool) -> tuple[list[DataFile], int]:
    """The files when nothing is worth joining any more, and the rows that were rewritten."""
    rewritten = 0
    for number in range(len(files)):
        chosen = worth_joining(name, files, over=over)
        if not chosen:
            return files, rewritten
        assert len(chosen) > 1 and len({file.path for file in chosen}) == len(chosen) and set(chosen) <= set(files)
        assert sum(file.rows for file in chosen) <= most_rows(name)
        rewritten += sum(file.rows for file in chosen)
        files = joined(name, files, chosen, number)
    assert not worth_joining(name, files, over=over)
    return files, rewritten


@given(FILES, st.sampled_from(["samples", "spans", "edges"]), st.booleans())
def test_joining_ends_and_keeps_every_row(files: list[DataFile], name: str, over: bool) -> None:
    left, _ = settle(name, files, over=over)
    assert sum(file.rows for file in left) == sum(file.rows for file in files)
    small = [file for file in left if 2 * file.rows < most_rows(name)]
    assert len(small) < 6 * TOGETHER
    if over:
        sizes = sorted(file.rows for file in small)
        assert all(4 * sum(sizes[:at]) < sizes[at] for at in range(1, len(sizes)))  # each dwarfs all smaller ones together


def test_an_hour_of_rounds_is_rewritten_three_times_and_has_some_fifty_files() -> None:
    """A round a second, 500 rows each."""
    files: list[DataFile] = []
    rewritten = most = number = 0
    for second in range(3600):
        files = [*files, DataFile(f"r{second}", 10_000, 500, "h", second, second)]
        while chosen := worth_joining("samples", files, over=False):
            rewritten += sum(file.rows for file in chosen)
            number += 1
            files = joined("samples", files, chosen, number)
        most = max(most, len(files))
    files, last = settle("samples", files, over=True)
    assert most <= 3 * TOGETHER and len(files) <= 2
    assert (rewritten + last) / (3600 * 500) <= 3.1


def test_late_rows_do_not_have_a_large_file_rewritten_again_and_again() -> None:
    files = [DataFile("large", 10_000_000, 500_000, "h", 0, 9)]
    rewritten = 0
    for late in range(300):
        files = [*files, DataFile(f"late{late}", 900, 10, "h", late, late)]
        while chosen := worth_joining("samples", files, over=True):
            rewritten += sum(file.rows for file in chosen)
            files = joined("samples", files, chosen, 1000 * late + len(files))
    assert rewritten < 100_000 and len(files) < TOGETHER


def _span(at_ns: int, number: int) -> Row:
    return {"trace_hi": number % 3, "trace_lo": 0, "span_id": number, "name": "x", "kind": 1, "start_ns": BEGIN + at_ns,
            "status_code": 0, "attributes": [("k", str(number))], "resource": [], "events": [], "links": [], "frame": number}


def _held(store: MadeStore, name: str) -> pa.Table:
    (path,) = store.tables.files(name)
    return store.duckdb.sql(f"SELECT * FROM read_parquet('{path}', hive_partitioning = false)").to_arrow_table()


@pytest.mark.parametrize("name", ["spans", "samples"])
@given(times=st.lists(st.integers(0, 5_000_000_000), min_size=13, max_size=60, unique=True), at_once=st.integers(1, 20))
@settings(max_examples=10)
def test_rows_sorted_in_slices_are_those_sorted_at_once(tmp_path_factory: pytest.TempPathFactory, name: str, times: list[int],
                                                        at_once: int) -> None:
    made = {"spans": _span, "samples": lambda at, number: gauge(at % 7 - 3, at, float(number), number)}[name]
    found = []
    for rows in (at_once, 1000):
        store = MadeStore(tmp_path_factory.mktemp("joined") / "s")
        every = [made(at, number) for number, at in enumerate(times, 1)]
        for first in range(0, len(every), 12):
            store.put(name, every[first : first + 12])
        new = join(store.duckdb, store.tables, name, store.tables.live(name), rows)
        found.append(_held(store, name))
        assert new.rows == found[-1].num_rows
    assert found[0].equals(found[1]) and found[0].num_rows == len(times)
