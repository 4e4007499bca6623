"""Prefill and decode apart."""

from __future__ import annotations

from instrumented_engine.scenario.strict import Strict


class Disaggregation(Strict):
    """Which replicas prefill, which decode, and how KV travels."""
