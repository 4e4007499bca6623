"""What goes beyond the answer: one hypothesis part by part, two answers side by side, blame, waste and the data's quality."""

from __future__ import annotations

import pytest
from simulated_runs import Runs
from simulated_tables import START_NS, MemoryTables

from analysis.affected import who_was_hit
from analysis.blame import who_slowed_whom
from analysis.compare import as_json, rows
from analysis.evidence_quality import assess
from analysis.explain import explain
from analysis.investigate import study
from collectors.errors import BadInput

S = 1_000_000_000


@pytest.mark.parametrize(("family", "seed"), [("slow_index", 1), ("slow_replica", 8), ("longer", 2)])
def test_the_parts_of_a_hypothesis_add_up_to_it(runs: Runs, family: str, seed: int) -> None:
    looked = study(runs.tables(family, seed))
    best = looked.ranked[0][0]
    _, *parts, together = explain(looked, f"{best.entity} {best.mechanism.name}")
    total = sum(float(part[-1]) for part in parts if part[-1])
    assert float(together[-1]) == pytest.approx(total, abs=0.06) == pytest.approx(best.score, abs=0.06)
    assert explain(looked, best.mechanism.name)[-1] == together
    assert {part[1].split()[0] for part in parts} >= {move.signal for move in best.mechanism.moves}


def test_a_hypothesis_that_was_not_weighed_is_refused_with_the_nearest_name(runs: Runs) -> None:
    with pytest.raises(BadInput, match="did you mean"):
        explain(study(runs.tables("slow_index", 1)), "kv_sync_bottlenek")
    with pytest.raises(BadInput, match="no hypothesis was weighed"):
        explain(study(runs.tables("none", 5)), "kv_sync_bottleneck")


def test_an_incident_beside_itself_differs_in_nothing_and_beside_another_one_in_its_trigger(runs: Runs) -> None:
    one, other = (runs.answer(*case).to_json() for case in (("slow_index", 1), ("slow_replica", 8)))
    assert {mark for *_, mark in rows(one, one)} == {"="}
    asked = as_json(one, other)["asked"]
    assert not asked["trigger"]["same"] and asked["trigger"]["a"].endswith("kv_sync_bottleneck")
    assert as_json(runs.answer("none", 5).to_json(), one)["asked"]["bad service"]["a"] == "none"


def shared(tokens: dict[int, int], duration_ms: int = 100) -> MemoryTables:
    """One step that requests share: request 1 and 2 chat, 3 a batch job."""
    return MemoryTables({
        "requests": {"engine_span_id": [1, 2, 3], "cohort": ["chat", "chat", "batch"], "arrival_ns": [START_NS] * 3,
                     "end_ns": [START_NS + S] * 3, "outcome": ["ok"] * 3},
        "steps": {"replica": ["replica:a"], "step_id": [1], "start_ns": [START_NS], "duration_ns": [duration_ms * 1_000_000],
                  "batch": [[{"request": r, "tokens": n} for r, n in tokens.items()]]},
    })  # fmt: skip


def test_a_step_is_shared_out_by_tokens_and_nothing_is_lost(runs: Runs) -> None:
    from analysis import queries

    tables = shared({1: 1, 2: 1, 3: 98})
    sql = queries.sql("shared_steps", start_ns=START_NS, end_ns=START_NS + S)
    found = {(row["victim"], row["culprit"]): row["seconds"] for row in tables.query(sql).to_pylist()}
    assert found["cohort:chat", "cohort:batch"] == pytest.approx(0.098)
    assert found["cohort:chat", "cohort:chat"] == pytest.approx(0.001)
    assert found["cohort:batch", "cohort:chat"] == pytest.approx(0.002)
    assert found["cohort:batch", "cohort:batch"] == pytest.approx(0.0)
    waited = found["cohort:chat", "cohort:batch"] + found["cohort:chat", "cohort:chat"] + 0.1 * 0.01
    assert waited == pytest.approx(0.1), "others' tokens and its own make the whole step"
    assert isinstance(who_slowed_whom(runs.scene("slow_index", 1)), tuple)


def test_waste_is_never_more_than_the_work_it_is_part_of(runs: Runs) -> None:
    for family, seed in (("slow_index", 1), ("slow_replica", 8)):
        waste = runs.answer(family, seed).waste
        assert waste is not None and 0 <= waste.retried_s <= waste.abandoned_s <= waste.engine_s
        assert waste.joules is None


def test_silent_replicas_and_clocks_are_said_and_add_doubt(runs: Runs) -> None:
    tables = runs.tables("slow_index", 1)
    end = START_NS + 1150 * S
    assert assess(tables, START_NS, end, 1.0).warnings == () and assess(tables, START_NS, end, 1.0).doubt == 0
    tables.change("DELETE FROM steps WHERE replica = 'replica:1'", "DELETE FROM series WHERE entity = 'replica:1'")
    mute = assess(tables, START_NS, end, 0.1)
    assert mute.doubt > 0 and any("replica:1" in warning for warning in mute.warnings)
    assert any("are a sample: 10%" in warning for warning in mute.warnings)
    skewed = MemoryTables({"spans": {
        "trace_hi": [1, 1], "trace_lo": [1, 1], "span_id": [1, 2], "parent_id": [None, 1], "entity": ["gateway:g", "replica:r"],
        "start_ns": [START_NS + 30 * S, START_NS],
    }})  # fmt: skip
    (warning,) = assess(skewed, START_NS, end, None).warnings
    assert "replica:r" in warning and "30 s" in warning


def test_whom_it_hit_is_told_by_cohort_and_by_gateway() -> None:
    from simulated_runs import scene_of

    at = [i * S // 4 for i in range(4 * 1200)]
    bad = [700 * S < one < 1000 * S and i % 3 > 0 for i, one in enumerate(at)]
    scene = scene_of(MemoryTables({"requests": {
        "arrival_ns": [START_NS + one for one in at], "end_ns": [START_NS + one + S for one in at], "trace_hi": [1] * len(at),
        "trace_lo": list(range(len(at))), "attempt": [1] * len(at),
        "cohort": ["api" if i % 3 == 0 else "chat" for i in range(len(at))],
        "gateway": ["gateway:west" if i % 2 else "gateway:east" for i in range(len(at))],
        "outcome": ["timeout" if one else "ok" for one in bad], "ttft_ns": [None if one else S // 2 for one in bad],
    }}))  # fmt: skip
    hit = {one.entity: one for one in who_was_hit(scene)}
    assert set(hit) == {"cohort:api", "cohort:chat", "gateway:east", "gateway:west"}
    assert hit["cohort:chat"].unanswered > 0.95 and hit["cohort:api"].unanswered == 0.0
    assert abs(hit["gateway:east"].unanswered - hit["gateway:west"].unanswered) < 0.05
    assert all(one.baseline == 0.0 for one in hit.values())
