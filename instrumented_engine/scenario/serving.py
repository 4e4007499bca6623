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
    """An engine's own limits and policies.

    ``eviction``: which cached block goes first. ``watermark``: share of the blocks kept free when a request is let in.
    ``reserve_tokens``: engine tokens kept free for the output of each running request when another is let in (SGLang's
    ``new_token_ratio``; 0 lets in by prompt alone). ``preempt``: who gives way when blocks run out. ``unservable``: what
    becomes of a request that the whole pool cannot hold: ``refuse`` refuses such a pool, ``error`` answers the request with an
    error, ``retry_forever`` keeps it at the head of the queue (vllm#52530).
    """

    kv_blocks: int = Field(8192, ge=16)
    block_tokens: int = Field(16, ge=1, le=512)
    max_running: int = Field(64, ge=1)
    max_waiting: int = Field(120, ge=1)
    step_target_ms: float = Field(100.0, gt=0)
    cancel_on_disconnect: bool = False
    speed: float = Field(1.0, gt=0)
    eviction: Literal["lru", "fifo", "lfu"] = "lru"
    watermark: float = Field(0.0, ge=0, lt=1)
    reserve_tokens: int = Field(0, ge=0)
    preempt: Literal["youngest", "oldest", "largest"] = "youngest"
    unservable: Literal["refuse", "error", "retry_forever"] = "refuse"


class KvIndex(Strict):
    """The index of who holds which block, and the event stream that feeds it.

    ``lookups_wait``: a lookup waits for all writes before it (one actor for reads and writes). ``told_of_losses``: a replica
    that dies is taken out of the index at once.
    """

    writer_ops_per_s: float = Field(275.0, gt=0)
    stream_buffer_events: int = Field(10_000, ge=1)
    lookup_ms: float = Field(1.0, ge=0)
    route_by: Literal["new_map", "old_map_until_synced"] = "new_map"
    lookups_wait: bool = False
    told_of_losses: bool = True


class MetadataMaster(Strict):
    """The leader that holds the index. ``election_s``: how long there is none after a failover. ``metadata_persisted``:
    whether the next one has what the last one knew. ``routers_follow``: whether routers find it, or go on with
    the old one's map."""

    election_s: float = Field(10.0, ge=0)
    metadata_persisted: bool = True
    routers_follow: bool = True


class Router(Strict):
    """How a replica is chosen, and by how many routers.

    ``policy``: ``prefix`` (SGLang's: longest prefix, unless the fleet is out of balance by ``balance_abs`` and
    ``balance_rel``, or less than ``min_match_share`` is known), ``least_load``, ``power_of_two`` (the less loaded of two
    drawn), ``session`` (sticky), ``hash_ring`` (by first block, ``virtual_nodes`` points a replica) or ``random``.

    ``replicas`` routers take turns. Each counts what it has sent itself; with ``replica_sync`` it hears of the others every
    ``sync_interval_s``. Loads are looked at no more often than every ``load_age_ms``. ``prefix_map``: ``events`` (the KV
    index) or ``own``: what this router has sent where, up to ``own_map_blocks``.
    """

    policy: Literal["prefix", "least_load", "power_of_two", "session", "hash_ring", "random"] = "prefix"
    min_match_share: float = Field(0.1, ge=0, le=1)
    balance_abs: int = Field(16, ge=0)
    balance_rel: float = Field(1.5, ge=1)
    virtual_nodes: int = Field(64, ge=1, le=1_024)
    replicas: int = Field(1, ge=1, le=16)
    replica_sync: bool = True
    sync_interval_s: float = Field(0.1, gt=0, le=3_600)
    load_age_ms: float = Field(0.0, ge=0, le=3_600_000)
    prefix_map: Literal["events", "own"] = "events"
    own_map_blocks: int = Field(100_000, ge=1)


class Tier(Strict):
    """Limits of one service tier: attempts at replicas at one time, and a token bucket. None: no limit."""

    name: str
    max_concurrency: int | None = Field(None, ge=0)
    rate_per_s: float | None = Field(None, gt=0)
    burst: float = Field(1.0, ge=0)


class Gateway(Strict):
    """The front door.

    With ``max_concurrency`` attempts beyond it wait in the gateway, at most ``max_queue`` of them (None: any number, the
    keep-alive design), none longer than ``shed_queue_s`` (then 429) or ``hold_s`` (then the connection is closed). ``order``:
    ``fifo``, ``lifo_under_load`` (newest first while the oldest has waited ``lifo_after_s``), or ``deadline`` (earliest
    deadline first; what would be answered less than ``deadline_slack_s`` before it is turned away). ``drop_left``:
    whether an attempt whose client has left leaves the queue; if not, it is served for nobody.
    """

    overhead_ms: float = Field(2.0, ge=0)
    stream_ms: float = Field(5.0, ge=0)
    shed_share: float = Field(0.0, ge=0, le=1)
    max_concurrency: int | None = Field(None, ge=1)
    max_queue: int | None = Field(None, ge=0)
    shed_queue_s: float | None = Field(None, gt=0)
    hold_s: float = Field(1_800.0, gt=0)
    order: Literal["fifo", "lifo_under_load", "deadline"] = "fifo"
    lifo_after_s: float = Field(1.0, ge=0)
    deadline_slack_s: float = Field(0.0, ge=0)
    drop_left: bool = True
    tiers: tuple[Tier, ...] = ()
