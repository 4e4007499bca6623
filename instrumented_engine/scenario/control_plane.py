"""The control plane."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from instrumented_engine.scenario.strict import Strict


class Target(Strict):
    """From ``at_s`` on, so many replicas are wanted."""

    at_s: float = Field(ge=0)
    replicas: int = Field(ge=0, le=4_096)


class ControlPlane(Strict):
    """What starts, stops, probes and replaces replicas.

    The API server does ``api_units_per_s`` units of work. Of ``nodes`` nodes each calls every ``agent_interval_s`` for
    ``agent_units``; a call that has no answer after ``api_timeout_s`` has failed, and its caller calls again at once, or
    with back-off (``caller_backoff``). Discovery keeps a replica's record for ``dns_ttl_s`` after the API confirmed it.

    Scaling: ``replicas`` wanted at first (None: all), then by ``schedule``, or by DeepSeek's day-6 node curve (``curve``), or
    by load (``autoscale``: so many running or waiting per replica, looked at every ``scale_interval_s``), from ``scale_min``
    to the scenario's replicas. A start takes ``image_pull_s`` and ``warm_up_s``, a stop ``drain_s``. While scheduling is
    paused decisions pile up; ``backlog_validated``: on release they are looked at again, not just carried out.

    A roll-out replaces ``rollout_batch`` replicas at a time; the new version computes at ``rollout_speed`` of the old one.
    ``reconcile_s``: how often the wanted version is enforced. Liveness probes: every ``probe_interval_s`` a replica is asked
    for one token (``queue``) or whether its process steps (``heartbeat``); ``probe_threshold`` failures restart it
    (``restart_s``).
    """

    api_units_per_s: float = Field(1_000.0, gt=0)
    api_timeout_s: float = Field(10.0, gt=0, le=3_600)
    nodes: int = Field(100, ge=1, le=100_000)
    agent_interval_s: float = Field(10.0, gt=0, le=3_600)
    agent_units: float = Field(1.0, ge=0)
    caller_backoff: bool = True
    dns_ttl_s: float = Field(1_200.0, gt=0, le=86_400)
    replicas: int | None = Field(None, ge=1)
    schedule: tuple[Target, ...] = ()
    curve: Literal["", "day6"] = ""
    autoscale: float | None = Field(None, gt=0)
    scale_min: int = Field(1, ge=1)
    scale_interval_s: float = Field(30.0, gt=0, le=3_600)
    image_pull_s: float = Field(60.0, ge=0, le=86_400)
    warm_up_s: float = Field(60.0, ge=0, le=86_400)
    drain_s: float = Field(30.0, ge=0, le=86_400)
    backlog_validated: bool = True
    rollout_batch: int = Field(1, ge=1, le=64)
    rollout_speed: float = Field(1.0, gt=0, le=10)
    reconcile_s: float = Field(60.0, gt=0, le=86_400)
    probes: Literal["off", "queue", "heartbeat"] = "off"
    probe_interval_s: float = Field(10.0, gt=0, le=3_600)
    probe_timeout_s: float = Field(1.0, gt=0, le=3_600)
    probe_threshold: int = Field(3, ge=1, le=100)
    restart_s: float = Field(60.0, ge=0, le=86_400)
