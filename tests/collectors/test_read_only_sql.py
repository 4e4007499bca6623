"""``flashover sql`` reads and does nothing else: no file of the store changes, no other file is seen."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest
from otlp_bodies import body_of

from collectors.commands import sql as sql_command
from collectors.errors import BadInput, FlashoverError
from collectors.intake import Intake
from collectors.read_only_sql import check, read_only
from collectors.seal import seal
from collectors.store import Store

ATTACKS = [
    "COPY (SELECT 1) TO '{inside}/x.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{inside}/x.csv'",
    "ATTACH '{inside}/x.duckdb'",
    "WITH c AS (COPY (SELECT 1) TO '{inside}/x.csv') SELECT * FROM c",
    "SELECT * FROM (WITH c AS (COPY (SELECT 1) TO '{inside}/x.csv') SELECT * FROM c)",
    "SELECT (WITH c AS (COPY (SELECT 1) TO '{inside}/x.csv') SELECT count(*) FROM c)",
    "SELECT 1 UNION ALL (WITH c AS (COPY (SELECT 1) TO '{inside}/x.csv') SELECT 1 FROM c)",
    "WITH c AS (INSERT INTO no_spans SELECT * FROM spans RETURNING *) SELECT * FROM c",
    "WITH c AS (DELETE FROM no_spans RETURNING *) SELECT * FROM c",
    "WITH c AS (UPDATE no_spans SET name = 'x' RETURNING *) SELECT * FROM c",
    "SELECT * FROM query('WITH c AS (COPY (SELECT 1) TO ''{inside}/x.csv'') SELECT * FROM c')",
    "SELECT * FROM json_execute_serialized_sql('{{}}')",
    "SELECT * FROM enable_logging(storage = 'file', storage_path = '{inside}/log')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('{inside}/store.json')",
    "SELECT * FROM READ_BLOB('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM \"{inside}/store.json\"",
    "SELECT 1; COPY (SELECT 1) TO '{inside}/x.csv'",
    "SELECT 1; SELECT 2",
    "EXPLAIN SELECT 1",
    "PRAGMA database_list",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "CALL pragma_version()",
    "INSTALL httpfs",
    "LOAD httpfs",
    "EXPORT DATABASE '{inside}/export'",
    "IMPORT DATABASE '{inside}/export'",
    "CREATE TABLE t AS SELECT 1",
    "CREATE MACRO m() AS TABLE SELECT 1",
    "DROP VIEW spans",
    "INSERT INTO no_spans SELECT * FROM spans",
    "BEGIN",
    "CHECKPOINT",
    "VACUUM",
    "USE memory",
    "PREPARE p AS SELECT 1",
    "",
    "-- nothing",
    "SELEC 1",
]

HARMLESS = {
    "SELECT count(*) AS n FROM spans": [{"n": 7}],
    "FROM range(2) t(n)": [{"n": 0}, {"n": 1}],
    "VALUES (1)": [{"col0": 1}],
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT max(n) AS n FROM r": [{"n": 3}],
    "SELECT n FROM (SELECT unnest([2, 1]) AS n) ORDER BY n": [{"n": 1}, {"n": 2}],
    "SELECT count(*) AS n FROM (SELECT 1 UNION SELECT 2 EXCEPT SELECT 1);": [{"n": 1}],
    "SELECT max(attributes['flashover.nothing']) AS v, 'COPY; ATTACH' AS t FROM spans": [{"v": None, "t": "COPY; ATTACH"}],
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sql") / "store"
    with Intake.open(path) as intake:
        for seq in range(1, 13):
            intake.put(*body_of(seq))
    return path


@pytest.fixture(scope="module")
def sealed(live: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sealed") / "incident.duckdb"
    with Store.open(live) as store:
        seal(store, path)
    return path


@pytest.fixture(params=["live", "sealed"])
def place(request: pytest.FixtureRequest) -> Path:
    """A telemetry folder, then a sealed file."""
    path: Path = request.getfixturevalue(request.param)
    return path


def bytes_of(folder: Path) -> dict[str, str]:
    """Every path below a folder with the hash of its content."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
            for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_but_one_select_is_accepted(place: Path, attack: str) -> None:
    inside = place if place.is_dir() else place.parent
    for folder in (inside, inside / "tables") if place.is_dir() else (inside,):
        before = bytes_of(inside)
        with Store.open(place) as store, pytest.raises(BadInput):
            read_only(store, attack.format(inside=folder))
        assert bytes_of(inside) == before


@pytest.mark.parametrize("attack", ["COPY (SELECT 1) TO '{outside}'", "SELECT * FROM read_csv('/etc/passwd')",
                                    "ATTACH '{outside}' AS o", "SET enable_external_access = true",
                                    "SET allowed_directories = ['/']", "LOAD httpfs"])
def test_the_connection_itself_is_locked(place: Path, tmp_path: Path, attack: str) -> None:
    """Also without the parser's judgement, nothing beyond the store is read or written."""
    with Store.open(place) as store, pytest.raises(FlashoverError):
        store.query(attack.format(outside=tmp_path / "out.db"))
    assert not list(tmp_path.iterdir())


def test_a_sealed_store_cannot_be_written_through_its_own_connection(sealed: Path) -> None:
    before = bytes_of(sealed.parent)
    with Store.open(sealed) as store:
        for statement in ("DELETE FROM sealed.spans", "CREATE TABLE sealed.t AS SELECT 1"):
            with pytest.raises(FlashoverError):
                store.query(statement)
        with contextlib.suppress(FlashoverError):  # some DuckDBs refuse it, others find nothing to write
            store.query("CHECKPOINT sealed")
    assert bytes_of(sealed.parent) == before


@pytest.mark.parametrize("sql", HARMLESS)
def test_a_select_is_answered(place: Path, sql: str) -> None:
    before = bytes_of(place.parent)
    with Store.open(place) as store:
        assert read_only(store, sql).to_pylist() == HARMLESS[sql]
    assert bytes_of(place.parent) == before


def test_reading_leaves_a_copy_on_a_read_only_medium_alone(live: Path, sealed: Path, tmp_path: Path) -> None:
    shutil.copytree(live, tmp_path / "store")
    shutil.copy(sealed, tmp_path / "incident.duckdb")
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for path in (tmp_path / "store", tmp_path / "incident.duckdb"):
        with Store.open(path) as store:
            assert store.query("SELECT count(*) AS n FROM requests").to_pylist() == [{"n": 4}]
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_the_command_prints_json_csv_and_text(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = ("SELECT frame, replica, expert_load, NULL AS missing, 1.50 AS dec, 'a,\"b' AS text, true AS yes, "
             "map {'k': 'v'} AS pairs FROM steps ORDER BY frame LIMIT 2")
    assert sql_command.main([str(place), query, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[1] == {"frame": 6, "replica": "replica:r0", "expert_load": [6, 1], "missing": None, "dec": "1.50",
                       "text": 'a,"b', "yes": True, "pairs": {"k": "v"}}
    assert sql_command.main([str(place), query, "--csv"]) == 0
    read = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert read[0] == list(rows[0]) and read[2] == ["6", "replica:r0", "[6, 1]", "", "1.50", 'a,"b', "true", '{"k": "v"}']
    assert sql_command.main([str(place), query]) == 0
    header, _, second = capsys.readouterr().out.splitlines()
    assert header.split() == list(rows[0]) and second.split()[:5] == ["6", "replica:r0", "[6,", "1]", "NULL"]


def test_the_command_refuses_in_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["COPY (SELECT 1) TO 'x'"], ["SELECT nothing FROM spans"], ["SELECT 1", "--json", "--csv"]):
        assert sql_command.main([str(place), *words]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and "Traceback" not in err


def test_columns_and_strings_with_bad_words_are_no_statements() -> None:
    check("SELECT 'ATTACH', \"copy\" FROM (SELECT 1 AS \"copy\") -- COPY x TO 'y'")
