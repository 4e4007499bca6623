"""What this room offers to timed actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instrumented_engine.mechanism import Mechanism, Room, Switch

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

MECHANISMS = (
    Mechanism(
        "SDK retries",
        "an attempt that fails is tried again, as the OpenAI SDK does by default: two retries, 0.5 s to 8 s back-off",
        "openai-python defaults; serving-mechanisms 6",
        ("attempt", "flashover:gateway_arrivals"),
        "instrumented_engine/test_cluster.py::test_attempts_never_exceed_the_retry_budget_and_follow_each_other",
        switches=(Switch("clients", "retries_on", flag=True),),
        settings=("cohorts.max_retries", "cohorts.ttft_timeout_s"),
    ),
)


def install(cluster: Cluster) -> None:
    """The cluster itself builds these parts."""


ROOM = Room(MECHANISMS, install, entities=lambda scenario: ["clients"])
