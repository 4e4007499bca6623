"""A mechanism's moves as the telemetry shows them on one entity: there, absent, or not measured.

Only deviations that began before the users' trouble can have caused them count, as later ones may be consequences. Silence is
no alibi: what is not measured is neither there nor absent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from analysis.factors import suspected
from analysis.mechanisms import Mechanism, Move
from analysis.onsets import Deviation
from analysis.scene import Scene
from analysis.signal_catalogue import SIGNALS

State = Literal["there", "absent", "late", "unmeasured", "unused"]
LEAST_EFFECT = 0.5
"""Material units below which a move is none."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One move. ``there``: with its deviation ``found``, ``effect`` in material units (beyond the peers' median, where peers
    count); of a signature that is not there, how far it went all the same. ``late``: on its entity it began surely after the
    users' trouble. ``unmeasured``: nothing of the signal's kind is; ``unused``: other signals of its kind are, so that what it
    measures is probably not in use."""

    move: Move
    state: State
    found: Deviation | None = None
    effect: float = 0.0

    @property
    def known(self) -> bool:
        """Whether the signal was measured."""
        return self.state in ("there", "absent", "late")


def read_all(scene: Scene, mechanism: Mechanism, entity: str) -> tuple[Reading, ...]:
    """The moves of a mechanism on an entity. A symptom that surely began before every sign of its cause is none, nor does
    anything contradict a cause that began surely after it."""
    readings = tuple(_read(scene, move, entity) for move in mechanism.moves)
    if mechanism.factor and (rise := suspected(scene, entity)) is not None:
        readings = tuple(
            Reading(r.move, "there", r.found or rise, max(r.effect, LEAST_EFFECT) if r.state == "there" else LEAST_EFFECT)
            if r.move.role == "signature" and r.known else r
            for r in readings
        )
    signs = [r.found.onset for r in readings if r.move.role == "signature" and r.state == "there" and r.found]
    if not signs:
        return readings
    # The signals of one cause are scraped at their own times.
    begun, clear = min(onset.low for onset in signs) - scene.bins.width_ns, max(onset.high for onset in signs)
    return tuple(replace(r, state="absent", effect=0.0) if _untimely(r, begun, clear) else r for r in readings)


def _untimely(reading: Reading, begun: int, clear: int) -> bool:
    if reading.found is None or reading.state != "there":
        return False
    early = reading.move.role == "symptom" and reading.found.onset.high <= begun
    return early or (reading.move.role == "contradiction" and reading.found.onset.low >= clear)


def _read(scene: Scene, move: Move, entity: str) -> Reading:
    """Signatures, and moves of signals that the entity has itself, are read on it; others on whoever shows them most."""
    holders = scene.board.get(move.signal, {})
    where = [entity] if move.role == "signature" or entity in holders else list(holders)
    measured = [name for name in where if scene.measured(move.signal, name)]
    if not measured:
        return Reading(move, "unused" if _others_measured(scene, move) else "unmeasured")
    best = Reading(move, "absent")
    for name in measured:
        found = scene.deviation(move.signal, name, move.direction)
        effect = 0.0 if found is None else _beyond_peers(scene, move, found)
        if effect >= LEAST_EFFECT and found is not None and (best.found is None or found.clearness > best.found.clearness):
            best = Reading(move, "there", found, effect)
    if best.state == "absent" and move.role == "signature":
        best = replace(best, effect=scene.lead_up_effect(move.signal, entity, move.direction))
        after = scene.deviation(move.signal, entity, move.direction, scene.last)
        if after is not None and after.onset.low >= scene.bins.at(scene.first):
            return replace(best, state="late", found=after)
    return best


def _others_measured(scene: Scene, move: Move) -> bool:
    kind = SIGNALS[move.signal].kind
    return any(signal.kind == kind and name in scene.board for name, signal in SIGNALS.items())


def _beyond_peers(scene: Scene, move: Move, found: Deviation) -> float:
    return found.effect - (max(0.0, scene.peer_effect(found)) if move.versus == "peers" else 0.0)
