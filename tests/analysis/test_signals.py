"""Every signal's SQL: its columns, that bins add up, that it keeps to the portable subset, and that somebody uses it."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_runs import Runs
from simulated_tables import START_NS, MemoryTables

from analysis import queries
from analysis.mechanisms import catalogue
from analysis.signals import PER_TIME, SIGNALS, Bins, StepCost, load_board, signal_sql
from collectors.schema import ENTITY_KINDS, TABLES

S = 1_000_000_000
ANALYSIS = Path(queries.__file__).parent
COST = StepCost(1e6, 6e4, 7e7, 1e4)
PARAMETERS = {"start_ns": START_NS, "end_ns": START_NS + 600 * S, "bin_ns": 10 * S, **COST.parameters()}


@pytest.fixture(scope="module")
def tables(runs: Runs) -> MemoryTables:
    return runs.tables("slow_index", 1)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_has_an_entity_of_its_kind_a_bin_a_numerator_and_a_denominator(tables: MemoryTables, name: str) -> None:
    frame = tables.frame(signal_sql(name, START_NS, START_NS + 900 * S, 10 * S, COST))
    assert frame.columns == ["entity", "bin", "num", "den"]
    assert frame.schema["bin"] == pl.Int64 and frame.schema["num"] == frame.schema["den"] == pl.Float64
    assert frame.height > 0
    assert {entity.partition(":")[0] for entity in frame["entity"]} == {SIGNALS[name].kind}
    assert SIGNALS[name].kind in ENTITY_KINDS
    assert frame["bin"].min() >= 0 and frame["bin"].max() < 90
    assert frame.select("entity", "bin").is_unique().all()
    assert frame.sort("entity", "bin").equals(frame)


@pytest.mark.parametrize("name", SIGNALS)
@settings(max_examples=6)
@given(begin=st.integers(0, 160), bins=st.integers(1, 40), width=st.sampled_from([5, 10, 30]))
def test_bins_add_up_to_one_big_bin(tables: MemoryTables, name: str, begin: int, bins: int, width: int) -> None:
    start, end = START_NS + begin * 5 * S, START_NS + (begin * 5 + bins * width) * S
    small = tables.frame(signal_sql(name, start, end, width * S, COST))
    big = tables.frame(signal_sql(name, start, end, end - start, COST))
    assert set(big["bin"]) <= {0}
    for row in big.iter_rows(named=True):
        part = small.filter(pl.col("entity") == row["entity"])
        den = part["den"].max() * bins if name in PER_TIME else part["den"].sum()
        assert part["num"].sum() == pytest.approx(row["num"], rel=1e-9, abs=1e-9)
        assert den == pytest.approx(row["den"], rel=1e-9)


@pytest.mark.parametrize("name", SIGNALS)
def test_two_windows_hold_what_one_window_over_both_holds(tables: MemoryTables, name: str) -> None:
    edges = [START_NS + seconds * S for seconds in (200, 440, 500, 900)]
    parts = [tables.frame(signal_sql(name, *span, span[1] - span[0], COST)) for span in pairwise(edges)]
    whole = tables.frame(signal_sql(name, edges[0], edges[-1], edges[-1] - edges[0], COST))
    summed = pl.concat(parts).group_by("entity").agg(pl.col("num", "den").sum()).sort("entity")
    assert summed["entity"].to_list() == whole["entity"].to_list()
    for column in ("num", "den"):
        assert summed[column].to_list() == pytest.approx(whole[column].to_list(), rel=1e-9, abs=1e-9)


def test_a_signal_that_is_a_share_stays_between_none_and_all(tables: MemoryTables) -> None:
    names = ["users.answered", "gateway.rejected", "router.predicted", "replica.hit", "replica.wasted", "replica.kv_used"]
    for name in names:
        frame = tables.frame(signal_sql(name, START_NS, START_NS + 1150 * S, 10 * S, COST))
        assert ((frame["num"] >= 0) & (frame["num"] <= frame["den"])).all(), name


def test_the_busiest_replica_has_at_least_its_even_share(tables: MemoryTables) -> None:
    frame = tables.frame(signal_sql("router.imbalance", START_NS, START_NS + 1150 * S, 10 * S, COST))
    values = frame["num"] / frame["den"]
    assert values.min() >= 1 and values.max() <= 3


def users(*asked: tuple[str, float]) -> MemoryTables:
    return MemoryTables({"requests": {
        "session": [name for name, _ in asked], "arrival_ns": [START_NS + round(at * S) for _, at in asked],
        "cohort": ["a"] * len(asked), "attempt": [1] * len(asked),
    }})  # fmt: skip


def test_users_are_counted_once_a_minute_however_often_they_ask() -> None:
    often = [("ann", 5.0 * i) for i in range(240)]
    once = [(f"b{i}", 10.0 * i) for i in range(120)]
    sql = signal_sql("demand.users", START_NS + 300 * S, START_NS + 900 * S, 600 * S, None)
    for asked, expected in ((often, 1.0), (once, 6.0), (often + once, 7.0)):
        row = users(*asked).query(sql).to_pylist()[0]
        assert row["num"] / row["den"] == pytest.approx(expected, rel=0.1)


def test_the_board_counts_as_the_sql_does_whatever_is_left_over_at_the_end(tables: MemoryTables) -> None:
    bins = Bins(START_NS, START_NS + 613 * S, 10 * S)
    board = load_board(tables, bins, COST)
    assert set(board) == set(SIGNALS)
    for name, of_entity in board.items():
        sql = signal_sql(name, bins.start_ns, bins.end_ns, bins.end_ns - bins.start_ns, COST)
        whole = {row["entity"]: row for row in tables.query(sql).to_pylist()}
        assert set(of_entity) == set(whole)
        for entity, series in of_entity.items():
            assert len(series.num) == len(series.den) == bins.count == 61
            assert series.num.sum() == pytest.approx(whole[entity]["num"], rel=1e-9, abs=1e-9)
            assert series.den.sum() == pytest.approx(whole[entity]["den"], rel=1e-9)
            expected = whole[entity]["num"] / whole[entity]["den"]
            assert series.mean(0, bins.count) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    last = signal_sql("demand.fresh", bins.at(60), bins.end_ns, bins.end_ns - bins.at(60), None)
    (row,) = tables.query(last).to_pylist()
    assert board["demand.fresh"][row["entity"]].num[-1] == row["num"]


def test_a_per_time_signal_is_zero_where_nothing_happened_and_others_are_unknown() -> None:
    board = load_board(users(("ann", 0.0), ("bob", 95.0)), Bins(START_NS, START_NS + 100 * S, 10 * S), None)
    fresh, prompt = board["demand.fresh"]["cohort:a"], board["demand.attempts"]["cohort:a"]
    assert fresh.mean(3, 6) == 0.0 and np.isnan(prompt.mean(3, 6))


# -- the SQL files themselves -----------------------------------------------------------------------------------------


def statement(name: str) -> str:
    """Without comments."""
    return "\n".join(line.partition("--")[0] for line in queries.source(name).splitlines())


@pytest.mark.parametrize("name", queries.names())
def test_sql_keeps_to_the_portable_subset(name: str) -> None:
    text = statement(name)
    assert not re.search(r"\b(QUALIFY|(GROUP|ORDER)\s+BY\s+ALL|read_\w+|approx_\w+|quantile_\w+|ASOF)\b", text, re.I)
    assert not re.search(r"\bSELECT\s+\*|EXCLUDE|REPLACE\s*\(|::|\bILIKE\b|\$\d|\?", text, re.I)
    ctes = set(re.findall(r"(?:WITH|,)\s*(\w+)\s+AS\s*\(", text))
    named = set(re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", text))
    assert named <= ctes | set(TABLES)
    assert queries.source(name).startswith("-- "), "the first line says what it is"
    grouped = re.search(r"\nGROUP BY ([^\n]+)\nORDER BY ([^\n]+)", text)
    if grouped and name != "user_requests":  # its order begins with what it computes
        assert grouped[2].split(", ")[: grouped[1].count(",") + 1] == grouped[1].split(", ")


@pytest.mark.parametrize("name", queries.names())
def test_the_order_of_rows_is_total(tables: MemoryTables, name: str) -> None:
    sql = queries.sql(name, **PARAMETERS)
    frame = tables.frame(sql)
    if frame.height <= 1:
        return
    order = re.search(r"ORDER BY ([\w., ]+)$", sql)
    assert order, "many rows and no order"
    keys = [key.strip().rpartition(".")[2] for key in order[1].split(",")]
    columns = [frame.columns[int(key) - 1] if key.isdigit() else key for key in keys]
    if set(columns) <= set(frame.columns):
        assert frame.select(columns).is_unique().all()
    else:
        assert {"trace_hi", "trace_lo", "request"} <= set(columns)  # the key of a user's request, which is not shown


@pytest.mark.parametrize("name", queries.names())
def test_every_column_that_comes_out_is_explained(tables: MemoryTables, name: str) -> None:
    last = queries.source(name).rpartition("\nSELECT")[2].partition("\nFROM")[0]
    columns = tables.frame(queries.sql(name, **PARAMETERS)).columns
    if name != "table_rows":
        assert last.count("--") >= len(columns)


def python_names() -> set[str]:
    return {
        node.value
        for path in ANALYSIS.glob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }  # fmt: skip


def test_every_sql_file_is_used() -> None:
    of_signals = {name.replace(".", "_") for name in SIGNALS}
    assert set(queries.names()) - of_signals <= python_names()
    assert of_signals <= set(queries.names())


def test_every_signal_is_used_by_a_mechanism_or_a_module() -> None:
    asked = {move.signal for mechanism in catalogue().values() for move in mechanism.moves}
    asked |= {signal for mechanism in catalogue().values() for hop in mechanism.path for signal in hop.signals}
    texts = "".join(path.read_text() for path in ANALYSIS.glob("*.py") if path.name != "signals.py")
    assert {name for name in SIGNALS if name not in asked and f'"{name}"' not in texts} == set()


def test_a_parameter_that_is_not_given_is_an_error() -> None:
    with pytest.raises(KeyError, match="bin_ns"):
        queries.sql("demand_fresh", start_ns=1, end_ns=2)


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
                | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-2**63, 2**63 - 1), min_size=1))
def test_a_literal_means_its_value_and_keeps_its_type(tables: MemoryTables, values: list[str | float]) -> None:
    found = tables.connection.sql(f"SELECT {', '.join(map(queries.literal, values))}").fetchall()
    assert found == [tuple(values)]
    assert [type(value) for value in found[0]] == [type(value) for value in values]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_no_number_has_no_literal(value: float) -> None:
    with pytest.raises(ValueError, match="no SQL literal"):
        queries.literal(value)
