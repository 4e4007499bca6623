"""The token content of a trace block: traces carry block ids, torch needs tokens."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


@lru_cache(maxsize=64)
def _offsets(count: int) -> NDArray[np.uint64]:
    steps = np.arange(1, count + 1, dtype=np.uint64)
    return steps * np.uint64(_GOLDEN)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def token_ids(block_key: int, count: int, vocabulary: int) -> list[int]:
    """``count`` ids in ``[0, vocabulary)``: the same for the same key, and a prefix of what a larger ``count`` gives.

    The key (any integer, taken modulo 2**64) seeds a splitmix64 stream, itself mixed first so that neighbouring keys do not
    share shifted streams.
    """
    seed = _mixed(np.array([block_key & _MASK], np.uint64))
    return list((_mixed(seed + _offsets(count)) % np.uint64(vocabulary)).tolist())
