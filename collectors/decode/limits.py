"""What one record and one store may hold. What is beyond it is cut or left out, and counted; never silently.

Every decoder takes ``Limits`` and a ``Drops`` to count into. The worker keeps the counts in the snapshot, so that a frame
that is decoded again after a crash is counted once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from collectors import settings

Reason = Literal["attribute_count", "text_length", "prompt_text", "series_overflow"]
Drops = Counter[str]
"""Reason -> how often. ``attribute_count``: attributes left out; ``text_length``: texts cut; ``prompt_text``: attributes and
log bodies left out; ``series_overflow``: samples of series beyond the limit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``attributes``: of one record (span, event, link, point, log record, resource), the first ones stay.
    ``value_chars``: of one key, value, name or status message. ``body_chars``: of one log body. ``series``: metric series
    of the store. ``keep_text``: whether prompt and completion text is kept."""

    attributes: int = 256
    value_chars: int = 16_384
    body_chars: int = 65_536
    series: int = 200_000
    keep_text: bool = False

    @classmethod
    def from_settings(cls, keep_text: bool | None = None) -> Limits:
        """As the settings ``collect.*`` say; ``keep_text``: the flag, None when it was not given."""
        now = settings.current()
        return cls(now.value("collect.attributes"), now.value("collect.value_chars"), now.value("collect.body_chars"),
                   now.value("collect.series"), now.value("collect.keep_text", keep_text))
