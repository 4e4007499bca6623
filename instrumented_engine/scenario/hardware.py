"""Hosts, GPUs and NICs."""

from __future__ import annotations

from pydantic import Field

from instrumented_engine.scenario.strict import Strict


class Hardware(Strict):
    """How replicas lie on hosts: ``replicas_per_host`` of a region's replicas each, ``gpus`` GPUs a replica.

    ``restart_s``: from the end of a loss to a process that serves again. ``rated_mhz``: the SM clock of a healthy GPU.
    ``update_s`` and ``update_gap_s``: how long an update of the operating system takes a host's routes away, and how long
    after one host the next one begins.
    """

    replicas_per_host: int = Field(1, ge=1, le=64)
    gpus: int = Field(8, ge=1, le=72)
    restart_s: float = Field(60.0, ge=0, le=86_400)
    rated_mhz: float = Field(1_980.0, gt=0)
    update_s: float = Field(120.0, gt=0, le=86_400)
    update_gap_s: float = Field(30.0, ge=0, le=86_400)
