"""What a mechanism declares of itself: its switches and operations, what it models, where it shows, what tests it.

The rooms' declarations are the one source for what a timed action may do (``actions``) and for docs/mechanisms.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from instrumented_engine.scenario import Scenario

if TYPE_CHECKING:
    from instrumented_engine.cluster import Cluster

Value = float | bool | int | str


class Measure(NamedTuple):
    """One metric of a part as it stands now: a running total (``counter``) or a level (gauge)."""

    name: str
    value: float
    unit: str = "1"
    counter: bool = False
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Switch:
    """``key`` is an attribute of the live parts of ``kind``. It takes one of ``choices``, true or false (``flag``), or a
    number from ``low`` to ``high`` (``whole``: without fraction)."""

    kind: str
    key: str
    low: float = 0.0
    high: float = math.inf
    choices: tuple[str, ...] = ()
    flag: bool = False
    whole: bool = False

    def problem(self, value: Value) -> str | None:
        """What is wrong with ``value``, or None."""
        if self.choices:
            return None if value in self.choices else f"must be one of {', '.join(self.choices)}"
        if self.flag:
            return None if isinstance(value, bool) else "must be true or false"
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return "must be a finite number"
        if self.whole and value != int(value):
            return "must be a whole number"
        if not self.low <= value <= self.high:
            return f"must lie within {self.low:g} .. {self.high:g}"
        return None


@dataclass(frozen=True, slots=True)
class Operation:
    """``do = name`` on an entity of ``kind`` calls that method of its live part."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One line of the page. ``settings`` are keys of the scenario file, ``shows`` names of telemetry (metrics, columns,
    event kinds), ``test`` a pytest id below ``tests/`` in which it emerges and is absent."""

    name: str
    models: str
    source: str
    shows: tuple[str, ...]
    test: str
    switches: tuple[Switch, ...] = ()
    operations: tuple[Operation, ...] = ()
    settings: tuple[str, ...] = ()


def _nothing(scenario: Scenario) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Room:
    """A folder of mechanisms. ``install`` puts them into a cluster that is being built; ``entities`` names the parts that
    ``install`` adds for a scenario; ``problems`` says what in it cannot work, as ``key = value: why; fix``."""

    mechanisms: tuple[Mechanism, ...]
    install: Callable[[Cluster], None]
    entities: Callable[[Scenario], Iterable[str]] = _nothing
    problems: Callable[[Scenario], Iterable[str]] = _nothing
