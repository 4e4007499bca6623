"""Canonical per-entity signals: ``analysis/signals/<kind of entity>.toml``. Adding one that a metric gives is adding a table.

A signal's value is sum(num) / sum(den) over any bins, so one query serves the series and every claim about it. It comes from
rows of ``requests`` or ``steps`` (``replica.hit`` is ``sql/replica_hit.sql``), or, where there are none, from the first of its
``metrics`` that was scraped. How much of a change matters is said in units of the signal's own kind, so nothing depends on
the size of a fleet:

* ``ratio``: times the healthy value (1.3: a third more), and as many times less;
* ``share``: absolute difference, of a share or of a count that is small by nature;
* ``seconds``: multiples of the mean wait of a healthy attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from analysis import queries
from analysis.strict_toml import build, read_toml
from collectors.errors import BadInput, nearest
from collectors.schema import ENTITY_KINDS

Direction = Literal["up", "down"]
Form = Literal["mean", "rate", "share", "ratio", "observed"]


@dataclass(frozen=True, slots=True)
class Metric:
    """How metrics give the signal: ``sql/metric_<form>.sql``. ``of``: a canonical signal of ``collectors/dialects``;
    ``over``: the counter that a ratio divides by; ``label`` and ``value``: only series with it (of a share: what is counted);
    ``by``: the label that names the entity, whose kind is the signal's."""

    form: Form
    of: str
    over: str = ""
    label: str = ""
    value: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal. ``kind``: of the entities that have it. ``material``: the change that counts as 1, see above. ``rows``:
    there is an SQL file of its name. ``per_time``: its denominator is time, so that a bin without rows is 0 and no gap.
    ``whole``: its rows say nothing where they are a sample, as counts and what sets rows against each other."""

    name: str
    kind: str
    scale: Literal["ratio", "share", "seconds"]
    material: float
    meaning: str
    rows: bool = True
    per_time: bool = False
    whole: bool = False
    metrics: tuple[Metric, ...] = ()

    @property
    def sources(self) -> tuple[Metric | None, ...]:
        """Where it may come from, best first; None: rows."""
        return ((None,) if self.rows else ()) + self.metrics

    @property
    def sampled_sources(self) -> tuple[Metric | None, ...]:
        """The same where rows of requests are a sample; those of steps never are."""
        if not self.rows or " requests" not in queries.source(self.name.replace(".", "_")):
            return self.sources
        return self.metrics + (() if self.whole else (None,))


def load_signals(folder: Path) -> dict[str, Signal]:
    """All ``*.toml`` of ``folder``; raises BadInput naming file and key."""
    found: dict[str, Signal] = {}
    for path in sorted(folder.glob("*.toml")):
        if path.stem not in ENTITY_KINDS:
            raise BadInput(f"{path}: {path.stem!r} is no kind of entity; {nearest(path.stem, ENTITY_KINDS)}")
        for name, table in read_toml(path).items():
            if name in found:
                raise BadInput(f"{path}: {name!r} is already a signal of {found[name].kind}; give it another name")
            if not isinstance(table, dict):
                raise BadInput(f"{path}: {name!r} must be a table, not {table!r}")
            signal: Signal = build(Signal, {"name": name, "kind": path.stem, **table}, path, f"{name}.")
            _check(signal, path)
            found[name] = signal
    return found


def _check(signal: Signal, path: Path) -> None:
    least = 1.0 if signal.scale == "ratio" else 0.0
    if not signal.material > least:
        raise BadInput(f"{path}: {signal.name}.material = {signal.material!r} must be above {least:g}")
    if not signal.sources:
        raise BadInput(f"{path}: {signal.name}.metrics = [] and rows = false: it comes from nowhere; give one of them")
    if signal.rows and (file := signal.name.replace(".", "_")) not in queries.names():
        raise BadInput(f"{path}: {signal.name}.rows = true needs analysis/sql/{file}.sql; write it, or set rows = false")


SIGNALS: Mapping[str, Signal] = load_signals(Path(str(resources.files("analysis"))) / "signals")
"""The shipped signals by name."""


def meaning(signal: str) -> str:
    """What a signal measures, in words."""
    return SIGNALS[signal].meaning
