"""The mechanism catalogue: ``analysis/mechanisms/*.toml``, one file a mechanism. Adding a mechanism is adding a file.

Ranking, cascade, rejected hypotheses, texts and alert rules all read it. A key that is not known, a signal that does not
exist or a value of the wrong type is refused with the file's and the key's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from analysis.signal_catalogue import SIGNALS, Direction
from analysis.strict_toml import build, read_toml
from collectors.errors import BadInput, nearest
from collectors.schema import ENTITY_KINDS


@dataclass(frozen=True, slots=True)
class Move:
    """A signal that the mechanism moves. ``signature``: on its own entity, needed to name it; ``essential``: anywhere, and
    missed where it is measured and absent; ``symptom``: anywhere; ``contradiction``: speaks for something else.
    ``weight`` 0 to 1. ``versus``: judged beside the entity's peers rather than alone. ``why``: in words for the reader."""

    signal: str
    direction: Direction
    role: Literal["signature", "essential", "symptom", "contradiction"]
    weight: float
    why: str
    versus: Literal["itself", "peers"] = "itself"


@dataclass(frozen=True, slots=True)
class Hop:
    """A station on the way from the mechanism to the users: a kind of entity and what shows there, best sign first."""

    kind: str
    signals: tuple[str, ...]
    directions: tuple[Direction, ...]


@dataclass(frozen=True, slots=True)
class Alert:
    """The alert rule that the mechanism deserves: an idea in PromQL on vLLM's and Flashover's metric names."""

    name: str
    expr: str
    hold: str


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One file of the catalogue. ``hypothesis``: what it is called when it is ruled out. ``lag_bounds_s``: from its start
    to the users. ``initiated_by``: kinds of change that can set it off. ``self_sustaining``: it can feed itself, so that it
    outlives what set it off. ``brought_on_by``: mechanisms, of demand as a rule,
    that may come before it, and of which it is the failure. ``factor``: of demand, that it raises (see ``factors``)."""

    name: str
    hypothesis: str
    title: str
    family: Literal["demand", "capacity", "efficiency", "coordination", "loop"]
    entity_kind: str
    role: Literal["trigger", "loop"]
    lag_bounds_s: tuple[float, float]
    initiated_by: tuple[str, ...]
    loops: tuple[str, ...]
    look_alikes: tuple[str, ...]
    told_apart_by: str
    mitigation: str
    sources: tuple[str, ...]
    alert: Alert
    moves: tuple[Move, ...]
    path: tuple[Hop, ...]
    self_sustaining: bool = False
    brought_on_by: tuple[str, ...] = ()
    factor: Literal["", "users", "calls", "prompt", "output", "several"] = ""

    def of_role(self, role: str) -> tuple[Move, ...]:
        """Its moves of one role."""
        return tuple(move for move in self.moves if move.role == role)


@cache
def catalogue() -> Mapping[str, Mechanism]:
    """The shipped mechanisms by name."""
    return load_catalogue(Path(str(resources.files("analysis"))) / "mechanisms")


def load_catalogue(folder: Path) -> dict[str, Mechanism]:
    """All ``*.toml`` of ``folder``; raises BadInput naming file and key."""
    found = {mechanism.name: mechanism for mechanism in map(load_mechanism, sorted(folder.glob("*.toml")))}
    for mechanism in found.values():
        for key in ("loops", "look_alikes", "brought_on_by"):
            for name in getattr(mechanism, key):
                if name not in found:
                    where = f"{folder}/{mechanism.name}.toml: {key}"
                    raise BadInput(f"{where}: there is no mechanism {name!r}; {nearest(name, found)}")
    return found


def load_mechanism(path: Path) -> Mechanism:
    """Read one file; raises BadInput naming file and key."""
    mechanism: Mechanism = build(Mechanism, read_toml(path), path)
    _check(mechanism, path)
    return mechanism


def _check(mechanism: Mechanism, path: Path) -> None:
    """What types alone do not say; raises BadInput."""
    if mechanism.name != path.stem:
        raise BadInput(f"{path}: name = {mechanism.name!r} must be the file's name, {path.stem!r}")
    for where, name in [*((f"moves.{i}.signal", m.signal) for i, m in enumerate(mechanism.moves)),
                        *((f"path.{i}.signals", name) for i, hop in enumerate(mechanism.path) for name in hop.signals)]:
        if name not in SIGNALS:
            raise BadInput(f"{path}: {where} = {name!r} is no signal; {nearest(name, SIGNALS)}")
    for where, kind in [("entity_kind", mechanism.entity_kind),
                        *((f"path.{i}.kind", hop.kind) for i, hop in enumerate(mechanism.path))]:
        if kind not in ENTITY_KINDS:
            raise BadInput(f"{path}: {where} = {kind!r} is no kind of entity; {nearest(kind, ENTITY_KINDS)}")
    for i, move in enumerate(mechanism.moves):
        if move.role == "signature" and SIGNALS[move.signal].kind != mechanism.entity_kind:
            raise BadInput(f"{path}: moves.{i}.signal = {move.signal!r} is measured on {SIGNALS[move.signal].kind}, "
                           f"not on entity_kind = {mechanism.entity_kind!r}")
        if not 0 < move.weight <= 1:
            raise BadInput(f"{path}: moves.{i}.weight = {move.weight!r} must be above 0 and at most 1")
    for i, hop in enumerate(mechanism.path):
        if len(hop.signals) != len(hop.directions):
            raise BadInput(f"{path}: path.{i}.directions = {list(hop.directions)!r} must be as many as its signals")
    if not mechanism.of_role("signature"):
        raise BadInput(f"{path}: moves = ... has no signature; give one of its moves role = 'signature'")
