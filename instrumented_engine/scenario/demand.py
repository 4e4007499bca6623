"""Who sends what: recorded arrivals, and classes of clients."""

from __future__ import annotations

from pydantic import Field

from instrumented_engine.scenario.strict import Strict


class Workload(Strict):
    """Which recorded arrivals are replayed, and how they are scaled (see ``cost_model``).

    ``ramp_s``: over so many first seconds traffic rises linearly from nothing, so that caches start cold but not crushed.
    """

    file: str = "mooncake_conversation"
    compress: float = Field(1.0, gt=0, le=100)
    offset_s: float = Field(0.0, ge=0)
    ramp_s: float = Field(0.0, ge=0)
    prompt_scale: float = Field(1 / 32, gt=0, le=1)
    output_scale: float = Field(1 / 4, gt=0, le=1)


class Cohort(Strict):
    """A class of clients. A session belongs to one cohort, drawn by ``share``."""

    name: str
    share: float = Field(1.0, gt=0)
    tier: str = "free"
    ttft_timeout_s: float = Field(30.0, gt=0)
    max_retries: int = Field(2, ge=0, le=20)
    backoff_initial_s: float = Field(0.5, ge=0)
    backoff_max_s: float = Field(8.0, ge=0)
