"""What a service tier may use: attempts at one time, and a token bucket of attempts per second."""

from __future__ import annotations

from typing import Literal

from instrumented_engine.clock import VirtualLoop
from instrumented_engine.scenario import Tier

Refusal = Literal["rate_limit", "tier_quota"]


class TierLimit:
    """``tier_concurrency`` and ``tier_rate_per_s`` are switches; infinity: no limit. The bucket starts full."""

    def __init__(self, loop: VirtualLoop, settings: Tier) -> None:
        no_limit = float("inf")
        self.tier_concurrency: float = no_limit if settings.max_concurrency is None else settings.max_concurrency
        self.tier_rate_per_s: float = no_limit if settings.rate_per_s is None else settings.rate_per_s
        self.inside = 0
        self._burst = max(1.0, settings.burst)
        self._tokens = self._burst
        self._since_ns = 0
        self._loop = loop

    def take(self) -> Refusal | None:
        """Take a place and a token; or why there is none."""
        if self.inside >= self.tier_concurrency:
            return "tier_quota"
        if self.tier_rate_per_s != float("inf"):
            now_ns = self._loop.now_ns
            earned = (now_ns - self._since_ns) / 1e9 * self.tier_rate_per_s
            self._tokens, self._since_ns = min(self._burst, self._tokens + earned), now_ns
            if self._tokens < 1.0:
                return "rate_limit"
            self._tokens -= 1.0
        self.inside += 1
        return None

    def leave(self) -> None:
        """Give the place back."""
        self.inside -= 1
