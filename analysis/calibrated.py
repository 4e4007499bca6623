"""How far scores can be believed: what became of them on simulated incidents of families that no weight was fitted on.

Measured by ``tests/bench/fit_weights.py``, which leaves a fifth of the training families out at a time. They stay scores: of a
fleet that nobody simulated they say how well the evidence fits, and not how often such a claim comes true there.
"""

from __future__ import annotations

from functools import cache

from analysis.investigation import Calibration
from analysis.strict_toml import shipped


@cache
def measured_calibration() -> Calibration:
    """That of ``calibration.toml``. Raises BadInput naming file and key."""
    calibration: Calibration = shipped(Calibration, "calibration.toml")
    return calibration
