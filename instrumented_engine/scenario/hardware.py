"""Hosts, GPUs and NICs."""

from __future__ import annotations

from instrumented_engine.scenario.strict import Strict


class Hardware(Strict):
    """How replicas lie on hosts."""
