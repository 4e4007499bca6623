"""How a collector fares: the figures behind its /metrics and /health, taken at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Vitals:
    """``queue_bytes``: bodies that wait for the disk. ``journal_bytes``, ``journal_frames``: journal that is not decoded.
    ``lag_s``: age of the oldest frame that is not decoded, 0 without one. ``synced_seq``, ``decoded_seq``: last frame that is
    durable, and last one in the tables. ``rows``: table -> rows appended, ``rejects``: signal -> records the decoder refused,
    ``drops``: reason of ``limits`` -> times, all three since the collector started. ``restarts``: times the worker was
    started anew. ``doing``: what the worker does now. ``problems``: why the collector is not healthy, a sentence each; none
    when it is."""

    queue_bytes: int = 0
    journal_bytes: int = 0
    journal_frames: int = 0
    lag_s: float = 0.0
    synced_seq: int = 0
    decoded_seq: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)
    rejects: Mapping[str, int] = field(default_factory=dict)
    drops: Mapping[str, int] = field(default_factory=dict)
    restarts: int = 0
    doing: str = ""
    disk_free_bytes: int = 0
    problems: tuple[str, ...] = ()
