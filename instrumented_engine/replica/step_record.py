"""What one step of a replica did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class StepRecord:
    """Token counts are unscaled except ``engine_tokens`` and ``batch_tokens``."""

    step_id: int
    start_ns: int
    duration_ns: int
    prefill_tokens: int
    decode_tokens: int
    engine_tokens: int
    running: int
    waiting: int
    deferred: int
    kv_used_blocks: int
    evicted_blocks: int
    preempted: int
    recomputed_tokens: int
    batch_spans: list[int]
    batch_tokens: list[int]
    expert_load: NDArray[np.int32]
