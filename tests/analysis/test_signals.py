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
from analysis.board import Bins, Series, load_board, signal_sql
from analysis.mechanisms import catalogue
from analysis.signal_catalogue import SIGNALS, Signal, load_signals
from analysis.step_cost import StepCost
from collectors.errors import BadInput
from collectors.schema import ENTITY_KINDS, TABLES

S = 1_000_000_000
ANALYSIS = Path(queries.__file__).parent
COST = StepCost(1e6, 6e4, 7e7, 1e4)
NOT_SIMULATED = ("demand.output", "replica.transfer", "pool.step_cost")
ROWS = [name for name, signal in SIGNALS.items() if signal.rows and name not in NOT_SIMULATED]
"""Signals that rows give, and that the simulation has."""
PARAMETERS = {
    "start_ns": START_NS, "end_ns": START_NS + 600 * S, "bin_ns": 10 * S, **COST.parameters(), "signal": "kv_index.lag",
    "every": 1, "over": "", "label": "", "value": "", "by": "", "kind": "kv_index", "signals": ",kv_index.lag,",
}  # fmt: skip


def sql_of(name: str, start_ns: int, end_ns: int, bin_ns: int) -> str:
    """A signal's query, of its best source."""
    cost = COST.parameters() if name.endswith(".step_cost") else {}
    return signal_sql(SIGNALS[name], SIGNALS[name].sources[0], start_ns, end_ns, bin_ns, cost)


@pytest.fixture(scope="module")
def tables(runs: Runs) -> MemoryTables:
    return runs.tables("slow_index", 1)


@pytest.mark.parametrize("name", ROWS)
def test_a_signal_has_an_entity_of_its_kind_a_bin_a_numerator_and_a_denominator(tables: MemoryTables, name: str) -> None:
    frame = tables.frame(sql_of(name, START_NS, START_NS + 900 * S, 10 * S))
    assert frame.columns == ["entity", "bin", "num", "den"]
    assert frame.schema["bin"] == pl.Int64 and frame.schema["num"] == frame.schema["den"] == pl.Float64
    assert frame.height > 0
    assert {entity.partition(":")[0] for entity in frame["entity"]} == {SIGNALS[name].kind}
    assert SIGNALS[name].kind in ENTITY_KINDS
    assert frame["bin"].min() >= 0 and frame["bin"].max() < 90
    assert frame.select("entity", "bin").is_unique().all()
    assert frame.sort("entity", "bin").equals(frame)


@pytest.mark.parametrize("name", ROWS)
@settings(max_examples=6)
@given(begin=st.integers(0, 160), bins=st.integers(1, 40), width=st.sampled_from([5, 10, 30]))
def test_bins_add_up_to_one_big_bin(tables: MemoryTables, name: str, begin: int, bins: int, width: int) -> None:
    start, end = START_NS + begin * 5 * S, START_NS + (begin * 5 + bins * width) * S
    small = tables.frame(sql_of(name, start, end, width * S))
    big = tables.frame(sql_of(name, start, end, end - start))
    assert set(big["bin"]) <= {0}
    for row in big.iter_rows(named=True):
        part = small.filter(pl.col("entity") == row["entity"])
        den = part["den"].max() * bins if SIGNALS[name].per_time else part["den"].sum()
        assert part["num"].sum() == pytest.approx(row["num"], rel=1e-9, abs=1e-9)
        assert den == pytest.approx(row["den"], rel=1e-9)


@pytest.mark.parametrize("name", ROWS)
def test_two_windows_hold_what_one_window_over_both_holds(tables: MemoryTables, name: str) -> None:
    edges = [START_NS + seconds * S for seconds in (200, 440, 500, 900)]
    parts = [tables.frame(sql_of(name, *span, span[1] - span[0])) for span in pairwise(edges)]
    whole = tables.frame(sql_of(name, edges[0], edges[-1], edges[-1] - edges[0]))
    summed = pl.concat(parts).group_by("entity").agg(pl.col("num", "den").sum()).sort("entity")
    assert summed["entity"].to_list() == whole["entity"].to_list()
    for column in ("num", "den"):
        assert summed[column].to_list() == pytest.approx(whole[column].to_list(), rel=1e-9, abs=1e-9)


def test_a_signal_that_is_a_share_stays_between_none_and_all(tables: MemoryTables) -> None:
    names = ["users.answered", "gateway.rejected", "router.predicted", "replica.hit", "replica.wasted", "replica.kv_used"]
    for name in names:
        frame = tables.frame(sql_of(name, START_NS, START_NS + 1150 * S, 10 * S))
        assert ((frame["num"] >= 0) & (frame["num"] <= frame["den"])).all(), name


def test_the_busiest_replica_has_at_least_its_even_share(tables: MemoryTables) -> None:
    frame = tables.frame(sql_of("router.imbalance", START_NS, START_NS + 1150 * S, 10 * S))
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
    sql = sql_of("demand.users", START_NS + 300 * S, START_NS + 900 * S, 600 * S)
    for asked, expected in ((often, 1.0), (once, 6.0), (often + once, 7.0)):
        row = users(*asked).query(sql).to_pylist()[0]
        assert row["num"] / row["den"] == pytest.approx(expected, rel=0.1)


def whole_of(series: Series, bins: Bins) -> str:
    """The query of what a series comes from, over all of its bins as one."""
    cost = COST.parameters() if series.signal.name.endswith(".step_cost") else {}
    return signal_sql(series.signal, series.source, bins.start_ns, bins.end_ns, bins.end_ns - bins.start_ns, cost)


def test_the_board_counts_as_the_sql_does_whatever_is_left_over_at_the_end(tables: MemoryTables) -> None:
    bins = Bins(START_NS, START_NS + 613 * S, 10 * S)
    board = load_board(tables, bins, COST.parameters())
    assert set(ROWS) <= set(board)
    for of_entity in board.values():
        sql = whole_of(next(iter(of_entity.values())), bins)
        whole = {row["entity"]: row for row in tables.query(sql).to_pylist()}
        assert set(of_entity) == set(whole)
        for entity, series in of_entity.items():
            assert len(series.num) == len(series.den) == bins.count == 61
            assert series.num.sum() == pytest.approx(whole[entity]["num"], rel=1e-9, abs=1e-9)
            assert series.den.sum() == pytest.approx(whole[entity]["den"], rel=1e-9)
            expected = whole[entity]["num"] / whole[entity]["den"]
            assert series.mean(0, bins.count) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    last = sql_of("demand.fresh", bins.at(60), bins.end_ns, bins.end_ns - bins.at(60))
    (row,) = tables.query(last).to_pylist()
    assert board["demand.fresh"][row["entity"]].num[-1] == row["num"]


def test_a_per_time_signal_is_zero_where_nothing_happened_and_others_are_unknown() -> None:
    board = load_board(users(("ann", 0.0), ("bob", 95.0)), Bins(START_NS, START_NS + 100 * S, 10 * S), {})
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
    of_signals = {name.replace(".", "_") for name, signal in SIGNALS.items() if signal.rows}
    forms = {f"metric_{metric.form}" for signal in SIGNALS.values() for metric in signal.metrics}
    assert set(queries.names()) - of_signals - forms <= python_names()
    assert of_signals | forms <= set(queries.names())


def test_every_signal_is_used_by_a_mechanism_or_a_module() -> None:
    asked = {move.signal for mechanism in catalogue().values() for move in mechanism.moves}
    asked |= {signal for mechanism in catalogue().values() for hop in mechanism.path for signal in hop.signals}
    texts = "".join(path.read_text() for path in ANALYSIS.glob("*.py") if path.name != "signal_catalogue.py")
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


# -- metrics ----------------------------------------------------------------------------------------------------------

SCRAPES = 60


def scraped(**series: tuple[str, str, dict[str, str], list[float]]) -> MemoryTables:
    """A store of metric series: signal, entity, labels, and values every ten seconds."""
    ids = {name: number for number, name in enumerate(series, start=1)}
    samples = [(ids[name], i, value) for name, (_, _, _, values) in series.items() for i, value in enumerate(values)]
    return MemoryTables({
        "series": {"series_id": list(ids.values()), "signal": [one[0] for one in series.values()],
                   "entity": [one[1] for one in series.values()], "labels": [list(one[2].items()) for one in series.values()]},
        "samples": {"series_id": [one[0] for one in samples], "ts_ns": [START_NS + one[1] * 10 * S for one in samples],
                    "value": [one[2] for one in samples]},
        "edges": {"src": ["control_plane:a"], "dst": ["pool:b"], "kind": ["calls"], "count": [1]},
    })  # fmt: skip


def growing(by: float, resets: tuple[int, ...] = ()) -> list[float]:
    total, values = 0.0, []
    for i in range(SCRAPES):
        total = by if i in resets else total + by
        values.append(total)
    return values


BINS = Bins(START_NS, START_NS + SCRAPES * 10 * S, 30 * S)


def test_every_form_of_metric_gives_what_its_sql_gives() -> None:
    tables = scraped(
        lag=("kv_index.lag", "kv_index:x", {}, [float(i % 7) for i in range(SCRAPES)]),
        gaps=("kv_index.gaps", "kv_index:x", {}, growing(0.5)),
        hits=("kv.prefix_hits", "replica:r", {}, growing(3.0)),
        queries=("kv.prefix_queries", "replica:r", {}, growing(12.0)),
        ok=("api.calls", "control_plane:a", {"result": "ok"}, growing(9.0)),
        late=("api.calls", "control_plane:a", {"result": "timeout"}, growing(1.0)),
        wanted=("replicas.wanted", "control_plane:a", {}, [4.0] * SCRAPES),
        asked=("probe.requests", "traffic_manager:t", {"region": "west"}, growing(2.0)),
        failed=("probe.failures", "traffic_manager:t", {"region": "west"}, growing(1.0)),
    )
    board = load_board(tables, BINS, {})
    expected = {
        ("kv_index.gaps", "kv_index:x"): 0.05, ("replica.hit", "replica:r"): 0.25,
        ("control_plane.timeouts", "control_plane:a"): 0.1, ("pool.wanted", "pool:b"): 4.0,
        ("region.unreachable", "region:west"): 0.5, ("manager.failures", "traffic_manager:t"): 0.5,
    }  # fmt: skip
    for (name, entity), value in expected.items():
        assert board[name][entity].mean(0, BINS.count) == pytest.approx(value), name
    for of_entity in board.values():
        for entity, series in of_entity.items():
            rows = {row["entity"]: row for row in tables.query(whole_of(series, BINS)).to_pylist()}
            assert rows[entity]["num"] / rows[entity]["den"] == pytest.approx(series.mean(0, BINS.count))


def test_a_counter_that_was_reset_has_grown_by_what_it_says() -> None:
    boards = [
        load_board(scraped(gaps=("kv_index.gaps", "kv_index:x", {}, growing(2.0, resets))), BINS, {})
        for resets in ((), (17, 40))
    ]
    smooth, broken = (board["kv_index.gaps"]["kv_index:x"] for board in boards)
    assert broken.num.sum() == pytest.approx(smooth.num.sum()) and (broken.num >= 0).all()


def test_samples_that_are_no_numbers_are_no_samples() -> None:
    values = [1.0, float("nan"), 3.0, float("inf"), float("-inf")] + [2.0] * 5
    series = load_board(scraped(lag=("kv_index.lag", "kv_index:x", {}, values)), BINS, {})["kv_index.lag"]["kv_index:x"]
    assert np.isfinite(series.num).all() and series.mean(0, 4) == pytest.approx((1.0 + 3.0 + 2.0 * 5) / 7)


BAD = [
    ('scale = "ratio"', 'scale = "rate"', ["demand.fresh.scale", "rate", "ratio"]),
    ("material = 1.3", "material = 0.9", ["demand.fresh.material", "0.9", "above 1"]),
    ("per_time = true", "per_tme = true", ["per_tme", "did you mean"]),
    ('form = "rate"', 'form = "speed"', ["metrics.0.form", "speed"]),
]


@pytest.mark.parametrize(("good", "bad", "said"), BAD)
def test_a_bad_signal_file_is_refused_with_its_key(tmp_path: Path, good: str, bad: str, said: list[str]) -> None:
    text = """["demand.fresh"]
meaning = "x"
scale = "ratio"
material = 1.3
per_time = true
metrics = [{ form = "rate", of = "gateway.arrivals" }]
"""
    (tmp_path / "cohort.toml").write_text(text)
    assert isinstance(load_signals(tmp_path)["demand.fresh"], Signal)
    (tmp_path / "cohort.toml").write_text(text.replace(good, bad))
    with pytest.raises(BadInput) as refused:
        load_signals(tmp_path)
    assert all(word in str(refused.value) for word in [*said, "cohort.toml"])
