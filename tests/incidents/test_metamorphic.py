"""The answer stays where nothing that matters changed; each transformation changes what it says, and no more; and a difference
is seen where there is one. The whole library is swept by tests/bench/bench_metamorphic.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from analysis.investigate import investigate
from analysis.investigation import (
    Calibration,
    Coverage,
    Episode,
    Impact,
    Instant,
    Investigation,
    Onset,
    Trigger,
    Window,
)
from collectors.schema import TABLES
from collectors.store import Store
from incidents.benchmark.altered import Alteration, CopiedTables
from incidents.benchmark.metamorphic import ENTITIES, LATER_NS, TIMES, TRANSFORMATIONS
from incidents.benchmark.same_answer import differences
from incidents.families.registry import checked, drafted, family
from incidents.library_index import scenario_path
from incidents.replay import replay
from instrumented_engine.loading import load_scenario

QUICK = ("lost-probes", "self-redeploying-rollout", "throttled-gpu", "user-spike")
"""Two regions, a pool, a GPU beside its peers, and demand that barely tips the fleet."""
ONE = pytest.mark.parametrize("told", QUICK[:1], indirect=True)
"""For what a transformation does to tables, whatever happened: one of them says enough."""
BY_NAME = {one.name: one for one in TRANSFORMATIONS}
DURATIONS = {
    "spans": {column.name for column in TABLES["spans"].columns if column.name.endswith("_ns")} - {"start_ns", "end_ns"},
    "steps": {"duration_ns"},
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """A store in memory, and the answer on it."""

    tables: CopiedTables
    answer: Investigation

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return list(self.tables.query(sql).to_pylist())

    def alter(self, name: str) -> Alteration:
        """Tell the tables as the transformation has them."""
        self.tables.tell(Alteration({}))
        alteration = BY_NAME[name].alter(self.tables, self.answer)
        self.tables.tell(alteration)
        return alteration


def copied(store: Path) -> CopiedTables:
    with Store.open(store) as tables:
        return CopiedTables(tables)


@pytest.fixture(scope="module", params=QUICK)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    path = tmp_path_factory.mktemp(request.param) / "store"
    replay(load_scenario(scenario_path(request.param)), path)
    tables = copied(path)
    yield Told(tables, investigate(tables))
    tables.close()


def test_quick_incidents_are_of_training_families_and_break_out(told: Told) -> None:
    assert not any(family(slug).held_out for slug in QUICK)
    assert told.answer.impact.phases and told.answer.triggers


@pytest.mark.parametrize("name", BY_NAME)
def test_the_answer_stays(told: Told, name: str) -> None:
    assert BY_NAME[name].try_on(told.tables, told.answer) == []


@pytest.mark.parametrize("told", ["self-redeploying-rollout"], indirect=True)
def test_of_three_replicas_the_same_is_said_as_of_four(told: Told, tmp_path: Path) -> None:
    scenario, _ = checked(drafted("self-redeploying-rollout", fleet="three"))
    replay(scenario, tmp_path / "store")
    with Store.open(tmp_path / "store") as three:
        found = investigate(three)
    assert found.triggers[0].mechanism == told.answer.triggers[0].mechanism


COUNTS = " UNION ALL ".join(f"SELECT '{name}' AS name, count(*) AS n FROM {name}" for name in TABLES)


@ONE
def test_a_copy_says_what_the_store_says(told: Told) -> None:
    told.tables.tell(Alteration({}))
    stored = told.rows("SELECT * FROM requests ORDER BY span_id")
    told.tables.tell(Alteration({"spans": "SELECT * FROM told.spans"}))
    assert told.rows("SELECT * FROM requests ORDER BY span_id") == stored


@ONE
@pytest.mark.parametrize("name", ["names in reverse order", "names by lot"])
def test_no_old_name_is_left_anywhere(told: Told, name: str) -> None:
    counts = told.rows(COUNTS)
    alteration = told.alter(name)
    assert told.rows(COUNTS) == counts
    assert {old.partition(":")[0] for old in alteration.names} == {new.partition(":")[0] for new in alteration.names.values()}
    assert len(set(alteration.names.values())) == len(alteration.names)
    for table, columns in {**ENTITIES, "requests": ("gateway", "replica")}.items():
        for column in columns:
            found = {row["x"] for row in told.rows(f"SELECT DISTINCT {column} AS x FROM {table} WHERE {column} IS NOT NULL")}
            assert found <= set(alteration.names.values()) | {""}, (table, column)
    values = {
        value
        for table, column in (("spans", "resource"), ("spans", "attributes"), ("series", "labels"), ("events", "attributes"))
        for row in told.rows(f"SELECT DISTINCT unnest(map_values({column})) AS x FROM {table}")
        for value in str(row["x"]).split(",")
    }
    assert values.isdisjoint(alteration.names)
    cohorts = told.rows("SELECT DISTINCT cohort FROM requests")
    assert {f"cohort:{row['cohort']}" for row in cohorts} <= set(alteration.names.values())


@ONE
def test_another_epoch_moves_every_time_and_no_duration(told: Told) -> None:
    for table, columns in TIMES.items():
        timed = {column.name for column in TABLES[table].columns if column.name.endswith("_ns")}
        assert timed == set(columns) | DURATIONS.get(table, set()), table
    sums = " UNION ALL ".join(
        f"SELECT '{table}.{column.name}' AS name, CAST(sum(CAST({column.name} AS HUGEINT)) AS VARCHAR) AS total, "
        f"count({column.name}) AS n FROM {table}"
        for table in (*TIMES, "requests") for column in TABLES[table].columns if column.name.endswith("_ns")
    )  # fmt: skip
    told.tables.tell(Alteration({}))
    before = {row["name"]: row for row in told.rows(sums)}
    told.alter("another epoch")
    moving = {f"{table}.{column}" for table, columns in TIMES.items() for column in columns}
    for row in told.rows(sums):
        old = before[row["name"]]
        moved = LATER_NS if row["name"] in moving | {"requests.arrival_ns", "requests.end_ns"} else 0
        assert int(row["total"] or 0) == int(old["total"] or 0) + moved * row["n"], row["name"]


@ONE
def test_shuffled_rows_are_the_same_in_another_order(told: Told) -> None:
    told.tables.tell(Alteration({}))
    attempts = told.rows("SELECT * FROM requests ORDER BY span_id")
    first_steps = told.rows("SELECT start_ns FROM steps LIMIT 50")
    spans = told.rows("SELECT count(*) AS n FROM spans")[0]["n"]
    told.alter("rows shuffled")
    assert told.rows("SELECT start_ns FROM steps LIMIT 50") != first_steps
    assert told.rows("SELECT count(*) AS n FROM spans")[0]["n"] > 1.05 * spans
    assert told.rows("SELECT * FROM requests ORDER BY span_id") == attempts


@ONE
def test_decoys_are_as_many_again_and_bystanders_stay_calm(told: Told) -> None:
    told.tables.tell(Alteration({}))
    events, series = (told.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in ("events", "series"))
    told.alter("twice the decoys")
    assert told.rows("SELECT count(*) AS n FROM events")[0]["n"] == events + max(3, events)
    bystanders = told.rows("SELECT count(*) AS n FROM series WHERE entity LIKE '%-bystander'")[0]["n"]
    assert told.rows("SELECT count(*) AS n FROM series")[0]["n"] == series + bystanders and bystanders > series / 3
    # A gauge of a bystander never leaves the range in which the entity's own was before users noticed.
    ranges = """SELECT s.entity, s.name, s.labels, min(value) AS low, max(value) AS high
                FROM samples m JOIN series s USING (series_id)
                WHERE s.type = 'gauge' AND s.entity {which} AND value IS NOT NULL {until} GROUP BY ALL"""
    calm = told.rows(ranges.format(which="NOT LIKE '%-bystander'", until=f"AND ts_ns < {told.answer.impact.start}"))
    known = {(row["entity"], row["name"], str(row["labels"])): row for row in calm}
    beside = told.rows(ranges.format(which="LIKE '%-bystander'", until=""))
    assert beside
    for row in beside:
        own = known[row["entity"].removesuffix("-bystander"), row["name"], str(row["labels"])]
        assert own["low"] <= row["low"] <= row["high"] <= own["high"]


@ONE
@pytest.mark.parametrize(("name", "unit", "column"), [
    ("three tokens for one", "tokens", "prompt_tokens"), ("three blocks for one", "blocks", "prompt_blocks"),
])  # fmt: skip
def test_a_unit_counts_three_for_one_everywhere(told: Told, name: str, unit: str, column: str) -> None:
    sql = f"""SELECT (SELECT sum({column}) FROM requests) AS attempts,
        (SELECT sum(value) FROM samples JOIN series USING (series_id) WHERE unit = '{unit}') AS samples,
        (SELECT sum(value) FROM samples JOIN series USING (series_id) WHERE unit <> '{unit}') AS others,
        (SELECT sum(e2e_ns) FROM requests) AS waits"""
    told.tables.tell(Alteration({}))
    before = told.rows(sql)[0]
    told.alter(name)
    after = told.rows(sql)[0]
    assert (after["attempts"], after["waits"]) == (3 * before["attempts"], before["waits"])
    assert after["samples"] == pytest.approx(3 * before["samples"]) and after["others"] == pytest.approx(before["others"])


CHANGES: dict[str, Callable[[Investigation], Investigation]] = {
    "probability": lambda a: replace(a, triggers=(replace(a.triggers[0], probability=a.triggers[0].probability - 1e-6),
                                                  *a.triggers[1:])),
    "entity": lambda a: replace(a, triggers=(replace(a.triggers[0], entity="replica:another"), *a.triggers[1:])),
    "order": lambda a: replace(a, triggers=a.triggers[::-1] if len(a.triggers) > 1 else ()),
    "time": lambda a: replace(a, impact=replace(a.impact, start=a.impact.start and a.impact.start + 1)),
    "ruled out": lambda a: replace(a, rejected=a.rejected[1:]),
    "abstained": lambda a: replace(a, abstained=not a.abstained),
}  # fmt: skip


@ONE
@pytest.mark.parametrize("what", CHANGES)
def test_another_answer_is_seen_as_another(told: Told, what: str) -> None:
    assert differences(told.answer, told.answer, {}, 0) == []
    assert differences(told.answer, CHANGES[what](told.answer), {}, 0) != []  # type: ignore[arg-type]


@ONE
def test_names_that_were_not_put_in_are_seen(told: Told) -> None:
    alteration = told.alter("names by lot")
    after = investigate(told.tables)
    assert differences(told.answer, after, alteration.names, 0) == []
    assert differences(told.answer, after, {}, 0) != []
    assert differences(told.answer, after, alteration.names, 1) != []


def answered(*said: tuple[str, float, int], abstained: bool = False) -> Investigation:
    """An answer of two stretches; ``said``: entity, probability and stretch of each trigger."""
    moment, whole = Onset(Instant(0), Instant(1)), Window(Instant(0), Instant(900))
    return Investigation(
        whole, Coverage((), (), ()), Calibration(), abstained, Impact("", None, None, 0.0),
        triggers=tuple(Trigger(i, entity, "failed", (), probability, moment, episode=stretch)
                       for i, (entity, probability, stretch) in enumerate(said, start=1)),
        episodes=(Episode(Instant(100), Instant(300), ()), Episode(Instant(500), Instant(700), ())),
    )  # fmt: skip


@pytest.mark.parametrize(("after", "holds"), [
    (answered(("replica:a", 0.6, 0)), True),
    (answered(("gateway:g", 0.96, 1), ("replica:a", 0.9, 0)), True),  # another stretch came to the fore
    (answered(("gateway:g", 0.96, 1)), True),  # and of this one nothing is claimed
    (answered(("gateway:g", 0.6, 0), ("replica:a", 0.3, 0)), False),
    (answered(("gateway:g", 0.4, 0), ("replica:a", 0.3, 0), abstained=True), True),
    (answered(("gateway:g", 0.85, 0), abstained=True), False),
    (answered(("gateway:g", 0.96, 1), ("gateway:g", 0.7, 0), abstained=True), False),
])  # fmt: skip
def test_without_a_log_the_same_stretch_has_the_same_suspect_or_none(after: Investigation, holds: bool) -> None:
    found = BY_NAME["no change log"].broken(answered(("replica:a", 0.9, 0)), after, Alteration({}))
    assert (found == []) is holds


def test_where_nobody_was_hit_nobody_may_be_suspected() -> None:
    broken = BY_NAME["no change log"].broken
    assert broken(answered(), answered(), Alteration({})) == []
    assert broken(answered(), answered(("gateway:g", 0.9, 0)), Alteration({})) != []
