"""Speculative decoding: the shipped head's drafts are as good as it says, the text stays, and the benefit fades with load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_fleet import Memory, made_trace, scenario

from collectors.errors import BadInput
from instrumented_engine.clients.workload import prepare
from instrumented_engine.cluster import Cluster
from instrumented_engine.model.distil_mtp import distil
from instrumented_engine.model.mtp_file import acceptance_of, read_mtp, shipped_mtp
from instrumented_engine.model.recorded_runner import RecordedRunner
from instrumented_engine.model.tokens import token_ids
from instrumented_engine.model.torch_runner import TorchRunner

PATIENT = [{"name": "chat", "ttft_timeout_s": 600, "max_retries": 0}]


def run(trace: Path, runner: Any, duration_s: float = 60, actions: Any = (), **tables: Any) -> tuple[Cluster, Memory]:
    scene = scenario(
        trace, cohorts=PATIENT, duration_s=duration_s, cluster={"replicas": 1}, actions=list(actions), **tables
    )
    memory = Memory()
    arrivals = prepare(scene.workload, block_tokens=8, context=2048, duration_s=duration_s, seed=1)
    cluster = Cluster(scene, arrivals, runner, memory, token_ids)
    cluster.run()
    return cluster, memory


def torch_runner() -> TorchRunner:
    return TorchRunner("S", replicas=1, blocks=4096, block_tokens=8, seed=1)


def recorded() -> RecordedRunner:
    return RecordedRunner("S", replicas=1, blocks=4096, block_tokens=8, seed=1)


def measured(cluster: Cluster) -> dict[str, float]:
    return {m.name: m.value for source in cluster.measures["replica:r0"] for m in source()}


def test_the_text_stays_as_it_is_and_acceptance_is_what_the_file_says(tmp_path: Path) -> None:
    """Token for token, with and without drafts; drafts are right as often as on the text held out, within 0.15."""
    trace = made_trace(tmp_path / "t.jsonl", requests=30, seconds=40, prompt=3_000)
    plain = torch_runner()
    _, without = run(trace, plain)
    drafting = torch_runner()
    cluster, drafted = run(trace, drafting, speculative={"k": 1})
    texts = {s.arrival.at_ns: plain.read(s.generated) for s in without.done}
    again = {s.arrival.at_ns: drafting.read(s.generated) for s in drafted.done}
    assert len(texts) == len(again) == 30
    assert texts == again
    values = measured(cluster)
    share = values["vllm:spec_decode_num_accepted_tokens"] / values["vllm:spec_decode_num_draft_tokens"]
    assert share == pytest.approx(acceptance_of(shipped_mtp("S"))[0], abs=0.15)
    assert values["flashover:spec_decode_saved_seconds"] > 0


def crowd(folder: Path, together: int) -> Path:
    return made_trace(folder / f"{together}.jsonl", requests=together, seconds=2, prompt=600)


def test_drafts_help_a_small_batch_and_hurt_a_large_one(tmp_path: Path) -> None:
    """Time per decode step against the same step without drafts, by the number of sequences in it."""

    def ratio(together: int, **speculative: Any) -> tuple[float, Cluster]:
        tables: dict[str, Any] = {
            "replica": {"max_running": 500, "max_waiting": 1_000}, "duration_s": 200, "workload": {"output_scale": 1.0},
        }
        cluster, memory = run(crowd(tmp_path, together), recorded(), speculative=speculative, **tables)
        decodes = [record for _, record in memory.steps if record.decode_tokens and not record.prefill_tokens]
        most = max(record.engine_tokens for record in decodes)
        steps = [record for record in decodes if record.engine_tokens > 0.6 * most]
        cost = cluster.engines[0].cost
        return sum(r.duration_ns for r in steps) / sum(cost.step_ns(0, r.engine_tokens, 1.0) for r in steps), cluster

    few, helped = ratio(2, k=1)
    some, _ = ratio(60, k=1)
    many, _ = ratio(420, k=1)
    assert few < 0.8
    assert few < some < many
    assert many > 1.05
    assert measured(helped)["flashover:spec_decode_saved_seconds"] > 0
    assert ratio(420, k=1, disable_above=100)[0] == pytest.approx(1.0, abs=0.02)
    assert ratio(2, k=0)[0] == pytest.approx(1.0)
    assert ratio(420, k=3)[0] > many, "more drafts, more in vain"


def test_k_can_be_switched(tmp_path: Path) -> None:
    trace = made_trace(tmp_path / "t.jsonl", requests=100, seconds=55, prompt=1_500)
    off = {"at_s": 30, "until_s": "end", "do": "set", "target": "speculation:r0", "key": "spec_k", "value": 0}
    on_cluster, _ = run(trace, recorded(), speculative={"k": 1})
    cluster, _ = run(trace, recorded(), speculative={"k": 1}, actions=[off])
    full, half = (measured(c)["vllm:spec_decode_num_draft_tokens"] for c in (on_cluster, cluster))
    assert 0.2 * full < half < 0.8 * full


def test_the_shipped_head_says_how_it_was_made() -> None:
    path = shipped_mtp("S")
    _, provenance = read_mtp(path)
    assert path.stat().st_size < 1_000_000
    assert provenance["held_out_pairs"] > 5_000
    assert {"seed", "steps", "pairs", "data", "torch", "made_by"} <= provenance.keys()
    assert 0.3 < acceptance_of(path)[0] < 0.9


def test_distilling_is_the_same_for_a_seed_and_beats_random_weights(tmp_path: Path) -> None:
    first = distil("S", 3, 2, 60, tmp_path / "a.npz")
    again = distil("S", 3, 2, 60, tmp_path / "b.npz")
    assert first == again
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    untrained = distil("S", 3, 2, 0, tmp_path / "c.npz")
    assert first["acceptance"][0] > untrained["acceptance"][0] + 0.02


def test_a_file_that_is_no_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no\.npz: no MTP head.*distil_mtp makes one"):
        torch_runner().draft_with(tmp_path / "no.npz")
