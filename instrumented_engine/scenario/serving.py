"""What every region is made of: replicas, index, router, gateway."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from instrumented_engine.scenario.strict import Strict


class Names(Strict):
    """What the entities are called; analysis must not care."""

    replica: str = "r"
    gateway: str = "main"
    router: str = "main"
    kv_index: str = "main"


class Cluster(Strict):
    """How many replicas, and on which hardware."""

    replicas: int = Field(4, ge=1, le=64)
    profile: str = "h20_16b_a2b"


class Replica(Strict):
    """An engine's own limits and policies."""

    kv_blocks: int = Field(8192, ge=16)
    block_tokens: int = Field(16, ge=1, le=512)
    max_running: int = Field(64, ge=1)
    max_waiting: int = Field(120, ge=1)
    step_target_ms: float = Field(100.0, gt=0)
    cancel_on_disconnect: bool = False
    speed: float = Field(1.0, gt=0)


class KvIndex(Strict):
    """The index of who holds which block, and the event stream that feeds it."""

    writer_ops_per_s: float = Field(275.0, gt=0)
    stream_buffer_events: int = Field(10_000, ge=1)
    lookup_ms: float = Field(1.0, ge=0)
    route_by: Literal["new_map", "old_map_until_synced"] = "new_map"


class Router(Strict):
    """Cache-aware routing in SGLang's manner: longest prefix, unless the fleet is out of balance."""

    min_match_share: float = Field(0.1, ge=0, le=1)
    balance_abs: int = Field(16, ge=0)
    balance_rel: float = Field(1.5, ge=1)


class Gateway(Strict):
    """The front door."""

    overhead_ms: float = Field(2.0, ge=0)
    stream_ms: float = Field(5.0, ge=0)
    shed_share: float = Field(0.0, ge=0, le=1)
