"""Speculative decoding."""

from __future__ import annotations

from instrumented_engine.scenario.strict import Strict


class Speculative(Strict):
    """Draft tokens by the multi-token-prediction head."""
