"""Expert parallelism."""

from __future__ import annotations

from instrumented_engine.scenario.strict import Strict


class Experts(Strict):
    """How experts are spread over ranks."""
