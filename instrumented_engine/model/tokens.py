"""The token content of a trace block: traces carry block ids, torch needs tokens."""

from __future__ import annotations

from collections.abc import Sequence
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


_WORDS = 48
"""Different tokens that one kind of content is made of: the head of a Zipf distribution."""
CONTENTS = ("code", "prose", "maths")


def narrowed(ids: Sequence[int], content: str, vocabulary: int) -> list[int]:
    """The ids as text about ``content`` would have them: from the few tokens that such text is mostly made of. Experts are
    chosen by token and context, so that each kind of content loads its own; "" leaves the ids as they are."""
    if not content:
        return list(ids)
    base = (CONTENTS.index(content) + 1) * vocabulary // (len(CONTENTS) + 1)
    return [base + token % _WORDS for token in ids]
