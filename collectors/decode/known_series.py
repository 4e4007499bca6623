"""What a metric series is called by, which series the store has met, and how many it may have."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable

from collectors.decode.wire_arrow import Ints
from collectors.dialects import Dialects

_KEPT_KEYS = 65_536
_as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def series_id(name: str, entity: str | None, labels: dict[str, str | None], bounds: list[float], kind: str = "") -> int:
    """The signed 64-bit id of a series: blake2b of name, entity, sorted labels, bucket bounds, and ``kind`` if given."""
    parts = [name, entity, sorted(labels.items()), bounds, *([kind] if kind else [])]
    return int.from_bytes(hashlib.blake2b(_as_json(parts).encode(), digest_size=8).digest(), "big", signed=True)


OVERFLOW = "flashover.overflow"
"""The one series that counts the samples of series beyond the limit; it is not counted among them."""

OVERFLOW_ID = series_id(OVERFLOW, None, {}, [])


class KnownSeries:
    """The series that the store has met. ``stored``: ids in the table ``series``.

    A series is admitted while there is room, and then for good. ``stored`` may be ahead of the frame that is decoded again
    after a crash: it holds then what was admitted before, in the same order, so that the same series are refused again.
    """

    def __init__(self, stored: set[int], dialects: Dialects) -> None:
        self.stored = stored
        self.dialects = dialects
        self._ids: dict[Hashable, int] = {}
        self._blocks: dict[bytes, Ints] = {}
        self._block_points = 0

    def admits(self, series: int, fresh: dict[int, tuple[object, ...]], most: int) -> bool:
        """Whether samples of ``series`` are stored, where a store has ``most`` series.

        ``fresh``: the series of this round, not in the table yet.
        """
        if series in self.stored or series in fresh:
            return True
        return len(self.stored) + len(fresh) - (OVERFLOW_ID in self.stored or OVERFLOW_ID in fresh) < most

    def recall(self, key: Hashable) -> int | None:
        """The admitted series that was remembered under ``key``."""
        return self._ids.get(key)

    def remember(self, key: Hashable, series: int) -> None:
        """Remember an admitted series under a key that is quicker to have than its id: a few keys for each series."""
        if len(self._ids) >= _KEPT_KEYS + 4 * len(self.stored):
            self._ids.clear()
        self._ids[key] = series

    def recall_block(self, digest: bytes) -> Ints | None:
        """The series of the points of a block that was remembered."""
        return self._blocks.get(digest)

    def remember_block(self, digest: bytes, series: Ints) -> None:
        """Remember which admitted series the points of a whole block are of."""
        if self._block_points >= _KEPT_KEYS + 4 * len(self.stored):
            self._blocks.clear()
            self._block_points = 0
        self._blocks[digest] = series
        self._block_points += len(series)
