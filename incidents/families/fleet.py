"""The fleets that families of incidents happen to: one traffic, differently built.

All are 85 % busy with 3.5 requests a second of the Mooncake conversation trace, where a well-run fleet of its price is.
They differ in how many replicas share the work and how fast each is, in routers, and in what everything is called.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

_TABLES: dict[str, Any] = {
    "duration_s": 1230,
    "warm_up_s": 600,
    "workload": {
        "file": "mooncake_conversation", "compress": 1.06, "ramp_s": 420, "prompt_scale": 0.0078125, "output_scale": 0.25,
    },
    "cohorts": [{
        "name": "chat", "tier": "free", "ttft_timeout_s": 25, "max_retries": 2, "backoff_initial_s": 0.5, "backoff_max_s": 8,
    }],
    "replica": {"block_tokens": 4, "kv_blocks": 65536, "max_waiting": 120, "cancel_on_disconnect": False},
    "kv_index": {"writer_ops_per_s": 1000},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Topology:
    """A fleet of ``replicas``, each at ``speed`` of the profile's card, behind ``routers``. ``split``: whether an analysis
    may be tuned on it. ``names``: prefixes and names, which no analysis must rely on."""

    name: str
    replicas: int
    speed: float
    routers: int
    split: str
    names: tuple[tuple[str, str], ...] = ()

    def named(self, kind: str) -> str:
        """The name (of replicas: its prefix) that this fleet gives to its ``kind``."""
        return dict(self.names).get(kind, "r" if kind == "replica" else "main")

    def replica(self, number: int) -> str:
        """The name of a replica, from 0."""
        return f"{self.named('replica')}{number}"

    def tables(self) -> dict[str, Any]:
        """The scenario's tables before anything has happened."""
        data = deepcopy(_TABLES)
        data["cluster"] = {"replicas": self.replicas, "profile": "h20_16b_a2b"}
        if self.speed != 1:
            data["replica"]["speed"] = self.speed
        if self.routers > 1:
            data["router"] = {"replicas": self.routers}
        if self.names:
            data["names"] = dict(self.names)
        return data


TOPOLOGIES = {
    one.name: one
    for one in (
        Topology("four", 4, 1.0, 1, "train"),
        Topology("three", 3, 1.35, 1, "train", (("replica", "node"), ("kv_index", "shared"), ("router", "front"))),
        Topology("six", 6, 0.68, 2, "test", (("replica", "engine-"), ("kv_index", "prefixes"), ("gateway", "edge"))),
        Topology("eight", 8, 0.52, 1, "test", (("replica", "pod"), ("router", "balancer"))),
    )
}
