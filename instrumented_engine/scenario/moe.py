"""Expert parallelism."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from instrumented_engine.scenario.strict import Strict


class Experts(Strict):
    """How experts are spread over the ranks of a replica.

    ``redundant`` further places per layer hold copies of hot experts. ``moe_share``: share of a healthy step's compute that
    experts are. Re-balancing looks at the load of the last ``interval_s``: ``sync`` stops the replica for ``rearrange_s``
    (0.26 to 21 s were reported), ``async`` takes ``async_cost`` of its speed for ten times as long. Each rank stalls for
    ``stall_ms`` with probability ``stall_p`` a step. ``dummy_batch_on_idle``: whether a rank without work joins the
    collectives all the same; if not, they wait for it until the watchdog (``watchdog_s``) kills the replica, which is back
    after ``restart_s``.
    """

    ranks: int = Field(4, ge=1, le=256)
    redundant: int = Field(0, ge=0, le=256)
    moe_share: float = Field(0.5, gt=0, le=1)
    rebalance: Literal["off", "sync", "async"] = "off"
    interval_s: float = Field(60.0, gt=0, le=86_400)
    rearrange_s: float = Field(0.4, ge=0, le=600)
    async_cost: float = Field(0.1, ge=0, le=1)
    stall_p: float = Field(0.0, ge=0, le=1)
    stall_ms: float = Field(50.0, ge=0, le=60_000)
    dummy_batch_on_idle: bool = True
    watchdog_s: float = Field(600.0, gt=0, le=86_400)
    restart_s: float = Field(60.0, ge=0, le=86_400)
