"""Regions and what lies between them."""

from __future__ import annotations

from pydantic import Field

from instrumented_engine.scenario.strict import Strict


class Region(Strict):
    """A data centre with a fleet of its own. ``replicas``: how many, ``cluster.replicas`` where not given."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    replicas: int | None = Field(None, ge=1, le=64)


class TrafficManager(Strict):
    """Which region a client is sent to."""


class Link(Strict):
    """What lies between two regions."""
