"""Who sends what: recorded arrivals, and classes of clients."""

from __future__ import annotations

from typing import Literal

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
    """A class of clients.

    ``source``: where its requests come from.
    ``workload``: its ``share`` of the sessions of the common workload, drawn by session.
    ``servegen_deepseek_r1``, ``servegen_mm_image``: sampled from the parameters of real clients (image tokens are prompt
    tokens), at ``rate_factor`` times their rate, from hour ``hour`` on; with ``curve`` it follows DeepSeek's day-6 load.
    ``weka_agents``: ``agents`` closed loops that play real agent sessions, the next call after the last answer and a think
    time; a share ``subagents`` of the calls has a sub-agent beside it.
    ``batch``: the operation ``start_batch`` sends ``batch_size`` requests, ``batch_concurrency`` at a time (made up).
    ``flood``: Poisson at ``flood_per_s``, ``sign_up_share`` of it sign-ups that go no further than the login (made up).
    Made-up requests have ``prompt_tokens`` and ``output_tokens``.

    ``via``: straight to the API, or through the chat tier. ``retry``: as an SDK does, or as people press reload: a new
    attempt when nothing has come for ``ttft_timeout_s``, again and again, given up each time with probability ``give_up``.
    ``content``: what it talks about; experts are chosen by it.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    share: float = Field(1.0, gt=0)
    tier: str = "free"
    ttft_timeout_s: float = Field(30.0, gt=0)
    max_retries: int = Field(2, ge=0, le=20)
    backoff_initial_s: float = Field(0.5, ge=0)
    backoff_max_s: float = Field(8.0, ge=0)
    retry: Literal["sdk", "refresh"] = "sdk"
    give_up: float = Field(0.1, gt=0, le=1)
    via: Literal["api", "chat"] = "api"
    content: Literal["", "code", "prose", "maths"] = ""
    source: Literal["workload", "servegen_deepseek_r1", "servegen_mm_image", "weka_agents", "batch", "flood"] = "workload"
    rate_factor: float = Field(1.0, gt=0, le=1_000)
    hour: int = Field(0, ge=0, le=23)
    curve: Literal["", "day6"] = ""
    agents: int = Field(4, ge=1, le=10_000)
    subagents: float = Field(0.0, ge=0, le=1)
    batch_size: int = Field(100, ge=1, le=1_000_000)
    batch_concurrency: int = Field(16, ge=1, le=100_000)
    flood_per_s: float = Field(0.0, ge=0, le=1e6)
    sign_up_share: float = Field(0.0, ge=0, le=1)
    prompt_tokens: int = Field(1_000, ge=1)
    output_tokens: int = Field(200, ge=1)
