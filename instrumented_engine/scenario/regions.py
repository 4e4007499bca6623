"""Regions and what lies between them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from instrumented_engine.scenario.strict import Strict

_NAME = r"^[a-z][a-z0-9_]*$"


class Region(Strict):
    """A data centre with a fleet of its own. ``replicas``: how many, ``cluster.replicas`` where not given; ``users``: the
    share of users whose home it is, in proportion to the other regions' shares."""

    name: str = Field(pattern=_NAME)
    replicas: int | None = Field(None, ge=1, le=64)
    users: float = Field(1.0, ge=0, le=1_000)


class Link(Strict):
    """What lies between two regions: one-way latency, bandwidth that transfers share, share of packets lost."""

    between: tuple[str, str]
    latency_ms: float = Field(20.0, ge=0, le=10_000)
    bandwidth_gbps: float = Field(100.0, gt=0, le=100_000)
    loss: float = Field(0.0, ge=0, lt=1)


class TrafficManager(Strict):
    """Sends users to a region: to their home while it is healthy.

    ``managers``: how many decide, each by probes of its own. Probes go out every ``probe_interval_s``, fail after
    ``probe_timeout_s``, and ask the gateway's process (``shallow``) or for one generated token (``deep``). A region is
    taken out after ``fall`` failures in a row and taken back after ``rise`` successes, not before ``hold_down_s`` have
    passed; its users come back over ``return_ramp_s``. Clients keep an answer for ``dns_ttl_s``. ``health_delay_s``: how
    old the health that decisions are made by is. ``fail_open``: with no healthy region, behave as if all were.
    ``balance``: ``home``, or by load, looked at every ``balance_interval_s`` and as old as ``health_delay_s``.
    """

    managers: int = Field(1, ge=1, le=4)
    probe_path: Literal["shallow", "deep"] = "deep"
    probe_interval_s: float = Field(5.0, gt=0, le=3_600)
    probe_timeout_s: float = Field(2.0, gt=0, le=600)
    fall: int = Field(3, ge=1, le=100)
    rise: int = Field(2, ge=1, le=100)
    hold_down_s: float = Field(60.0, ge=0, le=86_400)
    return_ramp_s: float = Field(120.0, ge=0, le=86_400)
    dns_ttl_s: float = Field(30.0, ge=0, le=86_400)
    health_delay_s: float = Field(0.0, ge=0, le=86_400)
    fail_open: bool = True
    balance: Literal["home", "load"] = "home"
    balance_interval_s: float = Field(10.0, gt=0, le=3_600)
    connect_timeout_s: float = Field(3.0, gt=0, le=600)
