"""Where the seconds went: phases add up to the wait, and a mere shift of the traffic's mix moves none of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from simulated_runs import Runs, scene_of
from simulated_tables import MemoryTables

from analysis.phases import phase_seconds
from analysis.scene import Scene
from collectors.schema import PHASES

WAIT = """
    SELECT CAST(floor(ln(1 + prompt_tokens) / ln(2)) AS BIGINT) AS stratum, count(*) AS attempts, avg(e2e_ns) / 1e9 AS seconds
    FROM requests WHERE arrival_ns >= {} AND arrival_ns < {} AND outcome <> 'rejected' GROUP BY 1
"""


def waits(scene: Scene, first: int, last: int) -> dict[int, tuple[int, float]]:
    rows = scene.tables.query(WAIT.format(scene.bins.at(first), scene.bins.at(last))).to_pylist()
    return {row["stratum"]: (row["attempts"], row["seconds"]) for row in rows}


@pytest.mark.parametrize(("family", "seed"), [("slow_index", 1), ("longer", 2), ("shed", 5)])
def test_phases_add_up_to_the_whole_time_of_an_attempt_at_the_healthy_mix(runs: Runs, family: str, seed: int) -> None:
    scene = runs.scene(family, seed)
    before, during = waits(scene, scene.healthy.first, scene.healthy.last), waits(scene, scene.first, scene.last)
    common = before.keys() & during.keys()
    total = sum(before[stratum][0] for stratum in common)
    found = phase_seconds(scene)
    for told, side in (([one.seconds for one in found], during), ([one.baseline_seconds for one in found], before)):
        assert sum(told) == pytest.approx(sum(before[s][0] / total * side[s][1] for s in common), abs=0.02)
    order = [f"{one.phase}_ns" for one in found]
    assert order == [phase for phase in PHASES if phase in order]


def test_more_of_the_long_prompts_alone_moves_no_phase(runs: Runs) -> None:
    scene = runs.scene("longer", 2)
    begin, end = (scene.bins.at(i) for i in (scene.first, scene.last))
    same = runs.tables("longer", 2).change(
        f"DELETE FROM requests WHERE arrival_ns >= {begin}",
        f"INSERT INTO requests SELECT * REPLACE (arrival_ns + {begin - scene.bins.start_ns} AS arrival_ns) "
        f"FROM requests WHERE arrival_ns < {scene.bins.at(scene.healthy.last)}",
        *[f"INSERT INTO requests SELECT * FROM requests WHERE arrival_ns >= {begin} AND prompt_tokens > 8192"] * 2,
    )
    shifted = Scene(same, scene.bins, scene.board, scene.cost, scene.healthy, scene.finding, scene.first, scene.last,
                    scene.entities, scene.relations, scene.changes)
    assert end > begin
    for one in phase_seconds(shifted):
        assert one.seconds == pytest.approx(one.baseline_seconds, rel=0.05, abs=0.02), one.phase


def test_a_phase_that_takes_longer_is_the_one_that_grows(runs: Runs) -> None:
    scene = runs.scene("longer", 2)
    grown = runs.tables("longer", 2).change(
        f"UPDATE requests SET kv_transfer_ns = 2000000000 WHERE arrival_ns >= {scene.bins.at(scene.first)}"
    )
    found = {one.phase: one for one in phase_seconds(scene_of(grown))}
    assert found["kv_transfer"].seconds == pytest.approx(2.0) and found["kv_transfer"].baseline_seconds == 0.0
    assert "kv_transfer" not in {one.phase for one in phase_seconds(scene)}


def of_source(scene: Scene, tables: MemoryTables, source: str) -> dict[str, tuple[float, float]]:
    found = phase_seconds(replace(scene, tables=tables))
    assert found and {one.source for one in found} == {source}
    return {one.phase: (one.seconds, one.baseline_seconds) for one in found}


def without_phases(runs: Runs) -> MemoryTables:
    none = ", ".join(f"{phase} = NULL" for phase in PHASES)
    return runs.tables("longer", 2).change(f"UPDATE requests SET {none}")


def test_more_of_the_long_answers_alone_moves_no_phase(runs: Runs) -> None:
    scene = runs.scene("longer", 2)
    begin = scene.bins.at(scene.first)
    same = runs.tables("longer", 2).change(
        f"DELETE FROM requests WHERE arrival_ns >= {begin}",
        f"INSERT INTO requests SELECT * REPLACE (arrival_ns + {begin - scene.bins.start_ns} AS arrival_ns) "
        f"FROM requests WHERE arrival_ns < {scene.bins.at(scene.healthy.last)}",
        "UPDATE requests SET prompt_tokens = 1000, output_tokens = 100 + 900 * (span_id % 2), "
        "decode_ns = (100 + 900 * (span_id % 2)) * 10000000",
        *[f"INSERT INTO requests SELECT * FROM requests WHERE arrival_ns >= {begin} AND output_tokens > 500"] * 2,
    )
    found = {one.phase: one for one in phase_seconds(replace(scene, tables=same))}
    assert found["decode"].seconds == pytest.approx(found["decode"].baseline_seconds, rel=0.05)
    assert found["decode"].baseline_seconds > 3.0


def test_without_phases_traces_tell_and_without_traces_histograms(runs: Runs) -> None:
    scene = runs.scene("longer", 2)
    bad, begin, end = scene.bins.at(scene.first), scene.bins.at(0), scene.bins.at(scene.last)
    slow = f"CASE WHEN i * 1000000000 + {begin} >= {bad} THEN 5000000000 ELSE 1000000000 END"
    many = f"FROM range({(end - begin) // 1_000_000_000}) t(i)"
    at = f"{begin} + i * 1000000000"
    traced = without_phases(runs).change(
        f"INSERT INTO spans BY NAME SELECT i AS trace_hi, i AS trace_lo, 1 AS span_id, NULL AS parent_id, 'POST /pay' AS name, "
        f"'shop' AS service, {at} AS start_ns, {at} + {slow} + 500000000 AS end_ns {many}",
        f"INSERT INTO spans BY NAME SELECT i AS trace_hi, i AS trace_lo, 2 AS span_id, 1 AS parent_id, 'charge' AS name, "
        f"'bank' AS service, {at} + 200000000 AS start_ns, {at} + 200000000 + {slow} AS end_ns {many}",
    )
    found = of_source(scene, traced, "spans")
    assert list(found) == ["bank: charge", "shop: POST /pay"]
    assert found["bank: charge"] == pytest.approx((5.0, 1.0)) and found["shop: POST /pay"] == pytest.approx((0.5, 0.5))
    measured = without_phases(runs).change(
        "INSERT INTO series BY NAME SELECT 900 + i AS series_id, 'm' || i AS name, "
        "['latency.queue', 'latency.e2e'][i + 1] AS signal, 'replica:r0' AS entity, 'histogram' AS type FROM range(2) t(i)",
        f"INSERT INTO samples BY NAME SELECT 900 + s AS series_id, {at} AS ts_ns, CAST(NULL AS DOUBLE) AS value, "
        f"4 AS hist_count, 4 * ({slow} / 1e9 + 2 * s) AS hist_sum {many}, range(2) u(s)",
    )
    assert of_source(scene, measured, "metrics") == {"queue": pytest.approx((5.0, 1.0)), "other": pytest.approx((2.0, 2.0))}
    assert phase_seconds(replace(scene, tables=without_phases(runs))) == ()
