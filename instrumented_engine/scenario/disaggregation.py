"""Prefill and decode apart."""

from __future__ import annotations

from pydantic import Field

from instrumented_engine.scenario.strict import Strict


class Disaggregation(Strict):
    """The first ``prefill`` replicas of a region compute prompts, the others decode.

    ``kv_bytes_per_token``: what one real token's KV weighs (70,272 B in DeepSeek-V3). Every decode replica takes KV in over
    a NIC of ``bandwidth_gbps``, ``latency_ms`` and ``loss``. A request first gets a slot at a decode replica, waiting for it
    ``bootstrap_timeout_s`` at most; the slot waits for the KV ``waiting_timeout_s`` at most (300 in SGLang; a large number is
    the historic "for ever"). ``abort_notifies_peer``: whether the decode side is told of what the prefill side dropped.
    """

    prefill: int = Field(ge=0)
    kv_bytes_per_token: int = Field(70_272, ge=1)
    bandwidth_gbps: float = Field(400.0, gt=0)
    latency_ms: float = Field(0.05, ge=0)
    loss: float = Field(0.0, ge=0, lt=1)
    bootstrap_timeout_s: float = Field(300.0, gt=0)
    waiting_timeout_s: float = Field(300.0, gt=0)
    abort_notifies_peer: bool = True
