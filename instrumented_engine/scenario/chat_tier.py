"""The chat tier."""

from __future__ import annotations

from instrumented_engine.scenario.strict import Strict


class ChatTier(Strict):
    """The chat service before the API."""
