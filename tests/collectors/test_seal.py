"""A sealed file holds a window's rows as the store has them, opens as a store, and appears whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import duckdb
import pytest
from otlp_bodies import GAP_NS, SECOND, START, body_of, engine_span, resource, root_span, traces

from collectors.clock import iso
from collectors.commands import seal as seal_command
from collectors.errors import BadInput, StoreUnreadable
from collectors.intake import Intake
from collectors.schema import TABLES
from collectors.seal import seal
from collectors.store import Store


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("seal") / "store"
    with Intake.open(place) as intake:
        for seq in range(1, 61):
            intake.put(*body_of(seq))
    return place


def rows(store: Store, name: str) -> Counter[str]:
    return Counter(repr(row) for row in store.query(f"SELECT * FROM {name}").to_pylist())


def test_without_a_window_every_row_is_there(path: Path, tmp_path: Path) -> None:
    with Store.open(path) as store:
        counts = seal(store, tmp_path / "all.duckdb")
        with Store.open(tmp_path / "all.duckdb") as sealed:
            for name in TABLES:
                assert rows(sealed, name) == rows(store, name)
                assert sealed.query(f"SELECT * FROM {name}").schema == store.query(f"SELECT * FROM {name}").schema
                assert counts[name] == sum(rows(store, name).values())
            assert sealed.warnings[: len(store.warnings)] == store.warnings
    assert [left.name for left in tmp_path.iterdir()] == ["all.duckdb"]


def test_a_window_keeps_what_overlaps_it_and_whole_traces(path: Path, tmp_path: Path) -> None:
    start, end = START + 5 * GAP_NS + SECOND // 2, START + 9 * GAP_NS
    with Store.open(path) as store:
        seal(store, tmp_path / "some.duckdb", start, end)
    with Store.open(tmp_path / "some.duckdb") as sealed:
        one = {name: sealed.query(sql).column(0).to_pylist() for name, sql in {
            "requests": "SELECT DISTINCT request_id FROM requests ORDER BY arrival_ns",
            "spans": "SELECT DISTINCT request_id FROM spans WHERE name = 'gateway.request' ORDER BY start_ns",
            "engines": "SELECT DISTINCT request_id FROM spans WHERE name = 'llm_request' ORDER BY start_ns",
            "samples": "SELECT ts_ns FROM samples ORDER BY ts_ns", "steps": "SELECT start_ns FROM steps ORDER BY start_ns",
            "events": "SELECT ts_ns FROM events ORDER BY ts_ns"}.items()}
    inside = [START + turn * GAP_NS for turn in (6, 7, 8)]
    assert one["requests"] == one["spans"] == one["engines"] == ["q5", "q6", "q7", "q8"]
    assert one["samples"] == one["steps"] == one["events"] == inside


def test_sealing_a_sealed_file_again_gives_the_same_rows(path: Path, tmp_path: Path) -> None:
    with Store.open(path) as store:
        seal(store, tmp_path / "first.duckdb")
    with Store.open(tmp_path / "first.duckdb") as first:
        seal(first, tmp_path / "second.duckdb")
        with Store.open(tmp_path / "second.duckdb") as second:
            assert {name: rows(first, name) for name in TABLES} == {name: rows(second, name) for name in TABLES}


def test_what_cannot_be_sealed_is_refused_and_leaves_nothing(path: Path, tmp_path: Path) -> None:
    (tmp_path / "there.duckdb").write_text("mine")
    with Store.open(path) as store:
        for out, window, said in [("there.duckdb", (None, None), "exists already"), ("x.db", (None, None), "named .duckdb"),
                                  ("no/x.duckdb", (None, None), "no folder"), ("x.duckdb", (5, 5), "is empty")]:
            with pytest.raises(BadInput, match=said):
                seal(store, tmp_path / out, *window)
    assert [left.name for left in tmp_path.iterdir()] == ["there.duckdb"]
    assert (tmp_path / "there.duckdb").read_text() == "mine"


def test_an_interrupted_seal_leaves_nothing(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(path) as store:
        query = store.query

        def interrupted(sql: str, params: object = None) -> object:
            if "FROM samples" in sql:
                raise KeyboardInterrupt
            return query(sql, params)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "query", interrupted)
        with pytest.raises(KeyboardInterrupt):
            seal(store, tmp_path / "x.duckdb")
    assert not list(tmp_path.iterdir())


def test_a_sealed_file_of_a_newer_schema_or_of_another_kind_is_refused(path: Path, tmp_path: Path) -> None:
    with Store.open(path) as store:
        seal(store, tmp_path / "good.duckdb")
    for name, statement, said in [
        ("newer", "UPDATE flashover_store SET schema_version = 99", "newer"),
        ("other", "DROP TABLE flashover_store", "no sealed store"),
        ("half", "DELETE FROM flashover_store", "half-written"),
        ("table", "DROP TABLE spans", "cannot be read"),
    ]:
        copy = Path(shutil.copy(tmp_path / "good.duckdb", tmp_path / f"{name}.duckdb"))
        with duckdb.connect(str(copy)) as connection:
            connection.execute(statement)
        with pytest.raises(StoreUnreadable, match=said):
            Store.open(copy)


@pytest.mark.parametrize("part", [0.01, 0.3, 0.9])
def test_a_cut_sealed_file_is_refused(path: Path, tmp_path: Path, part: float) -> None:
    with Store.open(path) as store:
        seal(store, tmp_path / "x.duckdb")
    data = (tmp_path / "x.duckdb").read_bytes()
    (tmp_path / "x.duckdb").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(StoreUnreadable):
        read_all(tmp_path / "x.duckdb")


def read_all(sealed: Path) -> None:
    with Store.open(sealed) as store:
        for name in store.tables():
            store.query(f"SELECT * FROM {name}")


def test_what_has_no_end_is_kept_where_it_starts(tmp_path: Path) -> None:
    spans = [root_span(1, START), engine_span(2, START), engine_span(3, START)]
    del spans[2].attributes[:]  # without a number it is a row of its own, and its end is not known
    for span in spans:
        span.end_time_unix_nano = 0
    with Intake.open(tmp_path / "store") as intake:
        intake.put("traces", traces((resource("gateway:main"), spans[:1]), (resource("replica:r0"), spans[1:])))
    for name, start in (("in", START), ("after", START + 2 * SECOND)):
        with Store.open(tmp_path / "store") as store:
            counts = seal(store, tmp_path / f"{name}.duckdb", start, START + 3 * SECOND)
        assert (counts["spans"], counts["requests"]) == ((3, 2) if name == "in" else (0, 0))


def test_the_command_seals_a_window(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(path), str(tmp_path / "x.duckdb"), "--from", iso(START + 6 * GAP_NS), "--to", iso(START + 7 * GAP_NS)]
    assert seal_command.main(words) == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert list(printed) == list(TABLES) and printed["steps"] == "1" and printed["requests"] == "1"
    assert seal_command.main(words) == 2
    assert "exists already" in capsys.readouterr().err
    assert seal_command.main([str(path), str(tmp_path / "y.duckdb"), "--from", "noon"]) == 2
    assert "'noon' is not a time" in capsys.readouterr().err
    with duckdb.connect(str(tmp_path / "x.duckdb"), read_only=True) as connection:
        warnings = connection.execute("SELECT warnings FROM flashover_store").fetchone()
    assert warnings is not None and len(json.loads(warnings[0])) == 1


def test_a_sealed_file_of_an_earlier_contract_opens(path: Path, tmp_path: Path) -> None:
    """It has no minutes and fewer columns: the minutes come from its samples, the columns are NULL."""
    with Store.open(path) as store:
        seal(store, tmp_path / "x.duckdb")
        minutes = "SELECT * FROM rollups ORDER BY series_id, minute_ns"
        expected = store.query(minutes).to_pylist()
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("DROP TABLE rollups")
        connection.execute("ALTER TABLE spans DROP COLUMN outcome")
    with Store.open(tmp_path / "x.duckdb") as store:
        assert store.query(minutes).to_pylist() == expected != []
        spans = store.query("SELECT * FROM spans")
        assert spans.schema.names == TABLES["spans"].arrow.names and spans.num_rows > 0
        assert spans.column("outcome").null_count == spans.num_rows


def test_the_minutes_of_a_window_are_those_of_its_samples(path: Path, tmp_path: Path) -> None:
    with Store.open(path) as store:
        times = store.query("SELECT ts_ns FROM samples ORDER BY ts_ns").column("ts_ns").to_pylist()
        counts = seal(store, tmp_path / "w.duckdb", times[0], times[-1])
    assert 0 < counts["samples"] < len(times)
    with Store.open(tmp_path / "w.duckdb") as store:
        found = store.query("SELECT sum(n) AS n, sum(hist_count) AS h FROM rollups").to_pylist()
        assert found == store.query("SELECT count(*) AS n, sum(hist_count) AS h FROM samples").to_pylist()
