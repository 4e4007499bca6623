"""The control plane."""

from __future__ import annotations

from instrumented_engine.scenario.strict import Strict


class ControlPlane(Strict):
    """What starts, stops, probes and replaces replicas."""
