"""What speculative decoding offers to timed actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Mechanism, Room, Switch
from instrumented_engine.model.mtp_file import acceptance_of, shipped_mtp
from instrumented_engine.regions.region import sites
from instrumented_engine.scenario import Scenario
from instrumented_engine.speculative.mtp_decoding import MtpDecoding

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

MECHANISMS = (
    Mechanism(
        "speculative decoding whose benefit fades with load",
        "drafts by the multi-token-prediction head save iterations while the batch is small, and cost more than they save when "
        "it is large",
        "DeepSeek-V3 2.2 (MTP); vllm#12755 (R1: 81 to 82 % accepted); 1.63 times at one request a second; vllm#49548",
        ("vllm:spec_decode_num_draft_tokens", "vllm:spec_decode_num_accepted_tokens", "flashover:spec_decode_saved_seconds",
         "duration_ns"),
        "instrumented_engine/test_speculative.py::test_drafts_help_a_small_batch_and_hurt_a_large_one",
        switches=(
            Switch("speculation", "spec_k", high=4, whole=True), Switch("speculation", "disable_above", whole=True),
        ),
        settings=("speculative.k", "speculative.draft_share", "speculative.disable_above"),
    ),
)


def _speculation(replica: str) -> str:
    return f"speculation:{replica.partition(':')[2]}"


def entities(scenario: Scenario) -> Iterator[str]:
    """Per replica its speculation; in the change log the replica."""
    if scenario.speculative is not None:
        yield from (_speculation(replica) for site in sites(scenario) for replica in site.replicas)


def install(cluster: Cluster) -> None:
    """Let replicas draft."""
    settings = cluster.scenario.speculative
    if settings is None:
        return
    path = shipped_mtp(cluster.scenario.model)
    if hasattr(cluster.runner, "draft_with"):
        cluster.runner.draft_with(path)
    for engine in cluster.engines:
        decoding = MtpDecoding(cluster, engine, settings, acceptance_of(path)[0])
        engine.stretches.append(decoding.stretch)
        cluster.add(_speculation(engine.entity), decoding, of=engine.entity)
        cluster.measures.setdefault(engine.entity, []).append(decoding.measures)


ROOM = Room(MECHANISMS, install, entities)
