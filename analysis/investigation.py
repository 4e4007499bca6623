"""The answer: what an investigation says, as a tree of frozen dataclasses, and its JSON (DESIGN §6, version 1).

Fields may be added, never changed or removed. Times are UTC nanoseconds here and ISO 8601 text in the JSON. No incident:
``impact.phases``, ``triggers`` and the other lists are empty. Every ``Evidence`` can be checked: its SQL runs on the
store and gives one row with the columns ``value`` and ``baseline``.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal, NewType

from collectors.clock import iso

VERSION = 1
ANSWER = "investigation.json"
"""Name of the file that an answer is written to."""

Instant = NewType("Instant", int)
"""UTC nanoseconds."""

Bound = NewType("Bound", float)
"""An upper bound; infinity, which JSON does not know, is null there."""

PhaseSource = Literal["requests", "spans", "metrics"]
PhaseState = Literal["outage", "degraded", "recovered", "relapse", "over"]


@dataclass(frozen=True, slots=True)
class Window:
    """The time looked at, end exclusive."""

    start: Instant
    end: Instant


@dataclass(frozen=True, slots=True)
class Onset:
    """A change began between ``low`` and ``high``; onsets that overlap are not ordered."""

    low: Instant
    high: Instant


@dataclass(frozen=True, slots=True)
class Evidence:
    """One checkable claim. ``value`` is what the SQL gives for the time of the claim, ``baseline`` for healthy times;
    NULL is None."""

    claim: str
    sql: str
    value: float | None
    baseline: float | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """``signals``: what the telemetry holds of the catalogue's signals. ``missing``: what it lacks, so that the
    mechanisms that need it can be neither shown nor ruled out."""

    signals: tuple[str, ...]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """``score``: probabilities are scores. ``calibrated``: they are what they say. Measured on ``n`` incidents of ``families``:
    the 95 % interval of the debiased expected calibration error; nothing is where ``n`` is 0."""

    kind: Literal["score", "calibrated"] = "score"
    families: str = ""
    n: int = 0
    ece: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of the incident, end exclusive."""

    state: PhaseState
    start: Instant
    end: Instant


@dataclass(frozen=True, slots=True)
class Goodput:
    """Requests that users began from ``start`` on, until the next entry, and how many were answered in time."""

    start: Instant
    requests: int
    good: int


@dataclass(frozen=True, slots=True)
class Impact:
    """What users felt. ``start`` and ``end`` are None without an incident; ``bad_request_share`` is over its whole time."""

    slo: str
    start: Instant | None
    end: Instant | None
    bad_request_share: float
    phases: tuple[Phase, ...] = ()
    goodput: tuple[Goodput, ...] = ()


@dataclass(frozen=True, slots=True)
class Initiator:
    """A recorded change that came before the trigger where the trigger began."""

    event: str
    at: Instant
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Trigger:
    """A ranked hypothesis: this entity failed in this way first. ``equivalent_to``: mechanisms that the telemetry at hand
    cannot tell from it. ``also``: entities that show the same, for which this one stands. ``cause_set``: causes with the same
    number were needed together. ``episode``: the place in ``episodes`` that it explains."""

    rank: int
    entity: str
    mechanism: str
    equivalent_to: tuple[str, ...]
    probability: float
    onset: Onset
    evidence: tuple[Evidence, ...] = ()
    also: tuple[str, ...] = ()
    cause_set: int | None = None
    episode: int = 0


@dataclass(frozen=True, slots=True)
class Shed:
    """What it would have taken to break a loop: the share of arrivals to turn away, and for how many seconds."""

    share: tuple[float, float]
    seconds: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Loop:
    """A feedback loop that raised (amplifier) or kept up (sustainer) the damage. ``gain``: 95 % interval of the load that
    the loop offers over what the fleet can carry; above 1 it feeds itself. ``basis``: what the verdict rests on.
    ``shed``: what would have broken it; None where that cannot be said."""

    entity: str
    mechanism: str
    gain: tuple[float, Bound]
    basis: Literal["hysteresis", "model", "signal"]
    evidence: tuple[Evidence, ...] = ()
    shed: Shed | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """One stretch of bad service; ``triggers`` are ranks."""

    start: Instant
    end: Instant
    triggers: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class CascadeEdge:
    """Trouble went from one entity to another. ``lag_s``: between the middles of the two onsets, 0 when they cannot be
    ordered; ``lag_range_s``: what the onset intervals allow."""

    from_: str
    to: str
    lag_s: float
    lag_range_s: tuple[float, float]
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """A hypothesis that was tested and does not hold."""

    hypothesis: str
    why: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class PhaseSeconds:
    """Mean seconds that an attempt spent in a phase during the bad time and before. By ``requests`` at the same mix of prompts
    and answers; by ``spans`` on the critical path of traces with roots of the same names; by ``metrics`` at whatever mix there
    was."""

    phase: str
    seconds: float
    baseline_seconds: float
    source: PhaseSource = "requests"


@dataclass(frozen=True, slots=True)
class Affected:
    """One cohort, or one gateway with the users that came to it: requests of the bad time, the share of them that no attempt
    answered, and that share in healthy time (None: it had no requests then)."""

    entity: str
    requests: int
    unanswered: float
    baseline: float | None


@dataclass(frozen=True, slots=True)
class Blame:
    """Seconds that a request of ``victim`` waited in shared steps for tokens of ``culprit``, in the bad time and before."""

    victim: str
    culprit: str
    seconds: float
    baseline_seconds: float


@dataclass(frozen=True, slots=True)
class Waste:
    """Engine seconds of the bad time: all, for clients that had left, of these on retries, and computed again after preemption.
    ``joules``: energy of what was abandoned; None where energy is not measured."""

    engine_s: float
    abandoned_s: float
    retried_s: float
    recomputed_s: float
    joules: float | None


@dataclass(frozen=True, slots=True)
class Investigation:
    """The whole answer. ``residual_probability`` is left for causes that are not in ``triggers``. ``headroom``: share of the
    fleet's capacity that was free before the trigger, None where steps are not measured."""

    window: Window
    coverage: Coverage
    calibration: Calibration
    abstained: bool
    impact: Impact
    initiators: tuple[Initiator, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    residual_probability: float = 0.0
    amplifiers: tuple[Loop, ...] = ()
    sustainers: tuple[Loop, ...] = ()
    episodes: tuple[Episode, ...] = ()
    cascade: tuple[CascadeEdge, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    phase_seconds: tuple[PhaseSeconds, ...] = ()
    headroom: tuple[float, float] | None = None
    blame: tuple[Blame, ...] = ()
    waste: Waste | None = None
    affected: tuple[Affected, ...] = ()
    version: int = field(default=VERSION)

    def to_json(self) -> dict[str, Any]:
        """The document of DESIGN §6 as dicts, lists, numbers and text, in the order of the fields, version first."""
        document: dict[str, Any] = _plain(self)
        return {"version": document.pop("version"), **document}

    def document(self) -> str:
        """``to_json`` as the text of a file, with a newline at its end."""
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"


_TIMES = ("start", "end", "low", "high", "at")


def _plain(value: Any, name: str = "") -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name.rstrip("_"): _plain(getattr(value, f.name), f.name) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, int) and name in _TIMES:
        return iso(value)
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
