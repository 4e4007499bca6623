"""Blemishes change what arrives and nothing else: parts go missing, clocks move, a trace is sampled whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectors.intake import Intake
from collectors.sink import MemorySink
from collectors.store import Store
from incidents.benchmark.blemishes import BLEMISHES, Blemish, BlemishedSink
from incidents.benchmark.cases import robustness, smoke
from incidents.families.registry import checked, drafted
from incidents.replay import play
from instrumented_engine.rooms import entities
from instrumented_engine.scenario import Scenario

Read = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def fleet() -> Scenario:
    scenario, _ = checked(drafted("busy-but-healthy"))
    return scenario.model_copy(update={"duration_s": 60.0, "warm_up_s": 20.0, "actions": scenario.actions[:0]})


@pytest.fixture(scope="module")
def sent(fleet: Scenario) -> MemorySink:
    memory = MemorySink()
    play(fleet, memory)
    return memory


@pytest.fixture
def arrived(fleet: Scenario, sent: MemorySink, tmp_path: Path) -> Callable[[Blemish], Read]:
    """Rows of a store that the same bodies reached behind a blemish."""

    def read(blemish: Blemish) -> Read:
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        with Intake.open(path) as intake:
            sink = blemish.sink(intake, [name for name in entities(fleet) if name.startswith("replica:")])
            for signal, body in sent.bodies:
                sink.put(signal, body)
            sink.sync()

        def rows(sql: str) -> list[dict[str, Any]]:
            with Store.open(path) as tables:
                return list(tables.query(sql).to_pylist())

        return rows

    return read


def test_without_a_blemish_nothing_stands_between(fleet: Scenario) -> None:
    memory = MemorySink()
    assert BLEMISHES[""].sink(memory, entities(fleet)) is memory
    assert BLEMISHES["scrape 30 s"].sink(memory, entities(fleet)) is memory
    assert BLEMISHES["scrape 30 s"].scraped(fleet).scrape_s == 30.0


def test_a_sink_that_changes_nothing_hands_on_what_came(sent: MemorySink) -> None:
    memory = MemorySink()
    sink = BlemishedSink(memory, Blemish(), frozenset(), frozenset())
    for signal, body in sent.bodies:
        sink.put(signal, body)
    assert [signal for signal, _ in memory.bodies] == [signal for signal, _ in sent.bodies]
    assert sum(len(body) for _, body in memory.bodies) == pytest.approx(sum(len(body) for _, body in sent.bodies), rel=0.01)


def test_of_a_lost_replica_nothing_arrives(arrived: Callable[[Blemish], Read]) -> None:
    whole, half = arrived(Blemish()), arrived(Blemish(lost_share=0.5))
    sql = "SELECT DISTINCT replica FROM steps ORDER BY 1"
    everybody = [row["replica"] for row in whole(sql)]
    assert len(everybody) == 4
    assert [row["replica"] for row in half(sql)] == everybody[2:]
    kinds = "SELECT DISTINCT entity FROM series WHERE entity LIKE 'replica:%' ORDER BY 1"
    assert [row["entity"] for row in half(kinds)] == everybody[2:]
    spans = "SELECT count(*) AS n FROM spans WHERE entity IN ('replica:r0', 'replica:r1')"
    assert whole(spans)[0]["n"] > 0
    assert half(spans)[0]["n"] == 0


def test_a_trace_is_kept_whole_or_not_at_all(arrived: Callable[[Blemish], Read]) -> None:
    sql = "SELECT trace_hi, trace_lo, count(*) AS n FROM spans GROUP BY 1, 2"
    whole = {(row["trace_hi"], row["trace_lo"]): row["n"] for row in arrived(Blemish())(sql)}
    part = {(row["trace_hi"], row["trace_lo"]): row["n"] for row in arrived(Blemish(kept_spans=0.3))(sql)}
    assert 0.15 < len(part) / len(whole) < 0.45
    assert all(whole[key] == n for key, n in part.items())


def test_skewed_clocks_move_everything_of_every_other_replica(arrived: Callable[[Blemish], Read]) -> None:
    straight, skewed = arrived(Blemish()), arrived(Blemish(skew_s=7.0))
    sql = "SELECT replica, min(start_ns) AS first, count(*) AS n FROM steps GROUP BY 1 ORDER BY 1"
    pairs = list(zip(straight(sql), skewed(sql), strict=True))
    assert [(b["first"] - a["first"]) / 1e9 for a, b in pairs] == [7.0, 0.0, 7.0, 0.0]
    assert all(a["n"] == b["n"] for a, b in pairs)
    sql = "SELECT s.entity, min(m.ts_ns) AS first FROM samples m JOIN series s USING (series_id) GROUP BY 1 ORDER BY 1"
    moved = {a["entity"]: (b["first"] - a["first"]) / 1e9 for a, b in zip(straight(sql), skewed(sql), strict=True)}
    assert {entity for entity, by in moved.items() if by == 7.0} == {"replica:r0", "replica:r2"}
    assert set(moved.values()) == {0.0, 7.0}


@pytest.mark.parametrize(("name", "sql"), [
    ("no KV-index metrics", "SELECT count(*) AS n FROM series WHERE entity LIKE 'kv_index:%'"),
    ("no router metrics", "SELECT count(*) AS n FROM series WHERE entity LIKE 'router:%'"),
    ("no engine steps", "SELECT count(*) AS n FROM steps"),
])  # fmt: skip
def test_a_missing_part_is_missing_and_the_rest_is_there(name: str, sql: str, arrived: Callable[[Blemish], Read]) -> None:
    whole, part = arrived(Blemish()), arrived(BLEMISHES[name])
    assert whole(sql)[0]["n"] > 0
    assert part(sql)[0]["n"] == 0
    attempts = "SELECT count(*) AS n FROM requests"
    assert part(attempts) == whole(attempts)


def test_cases_of_curves_are_training_families_with_every_blemish_and_names_of_their_own() -> None:
    cases = robustness(3)
    assert {case.split for case in cases} == {"train"}
    assert Counter(case.blemish for case in cases) == dict.fromkeys(BLEMISHES, 3)
    assert len({case.name for case in [*cases, *smoke()]}) == len(cases) + len(smoke()) - 3
