"""Where the seconds went: mean seconds in each phase, in the bad time and before, from the best telemetry there is.

*Attempts* with phases are compared within octaves of prompt length, and answered ones also within octaves of the answer's, all
weighted by the healthy mix, or a shift to longer prompts would be blamed on the phase that handles them. What comes from the
cache is no stratum: it is what the fleet makes of the traffic, and weighing by it would hide a cache that was lost. Phases are
disjoint, so the extra seconds add up to the extra wait. Where attempts have none, *traces* say on whom their roots waited
(``critical_path``), roots of one name with their like; where there are no traces either, engines' *histograms* of finished
requests do, at whatever mix there was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import groupby

from analysis import queries
from analysis.critical_path import Span, critical_path
from analysis.investigation import PhaseSeconds, PhaseSource
from analysis.scene import Scene
from collectors.schema import PHASES

LEAST_S = 1e-3
"""Phases that took less on both sides are left out."""
MOST_TRACES = 10_000
"""Of each side; beyond, one trace in so many is read."""
Means = Mapping[str, float]


def phase_seconds(scene: Scene) -> tuple[PhaseSeconds, ...]:
    """The phases, attempts' in the order of their life, others by what they grew; empty where nothing tells."""
    return _of_attempts(scene) or _of_traces(scene) or _of_metrics(scene)


def _sides(scene: Scene) -> tuple[tuple[int, int], tuple[int, int]]:
    """The bad time and the healthy one, ns UTC."""
    at = scene.bins.at
    return (at(scene.first), at(scene.last)), (at(scene.healthy.first), at(scene.healthy.last))


def _of_attempts(scene: Scene) -> tuple[PhaseSeconds, ...]:
    during, before = (_strata(scene, *side) for side in _sides(scene))
    common = sorted(before.keys() & during.keys())
    total = sum(before[prompt].attempts for prompt in common)
    if not total:
        return ()
    weights = {prompt: before[prompt].attempts / total for prompt in common}
    now, then = (
        {phase: sum(weights[p] * side[p].mean(phase, before[p].answers) for p in common) for phase in _NAMES}
        for side in (during, before)
    )  # fmt: skip
    return tuple(PhaseSeconds(p, now[p], then[p]) for p in _NAMES if max(now[p], then[p]) >= LEAST_S)


_NAMES = [name.removesuffix("_ns") for name in PHASES]


class _Prompts:
    """Attempts with prompts of one octave: by the octave of their answer, None without one, how many and their seconds."""

    def __init__(self) -> None:
        self.cells: dict[int | None, dict[str, float]] = {}

    @property
    def attempts(self) -> float:
        return sum(cell["attempts"] for cell in self.cells.values())

    @property
    def answers(self) -> dict[int, float]:
        """How many answers of each octave."""
        return {octave: cell["attempts"] for octave, cell in self.cells.items() if octave is not None}

    def mean(self, phase: str, mix: Mapping[int, float]) -> float:
        """Mean seconds of an attempt, answered ones at the mix of answers' lengths as far as it is here."""
        answered = self.answers
        weights = {octave: mix[octave] for octave in sorted(answered.keys() & mix.keys())} or answered
        total, share = sum(weights.values()), sum(answered.values()) / self.attempts
        seconds = {octave: cell[phase] / cell["attempts"] for octave, cell in self.cells.items()}
        mean = sum(weight / total * seconds[octave] for octave, weight in weights.items())
        return share * mean + (1.0 - share) * seconds.get(None, 0.0)


def _strata(scene: Scene, start_ns: int, end_ns: int) -> dict[int, _Prompts]:
    found: dict[int, _Prompts] = defaultdict(_Prompts)
    for row in scene.tables.query(queries.sql("phase_seconds", start_ns=start_ns, end_ns=end_ns)).to_pylist():
        prompt, answer = row.pop("prompt"), row.pop("answer")
        found[prompt].cells[answer] = {key: float(value or 0.0) for key, value in row.items()}
    told = any(cell[phase] > 0 for one in found.values() for cell in one.cells.values() for phase in _NAMES)
    return found if told else {}


def _of_traces(scene: Scene) -> tuple[PhaseSeconds, ...]:
    during, before = (_paths(scene, *side) for side in _sides(scene))
    common = sorted(before.keys() & during.keys())
    total = sum(before[root][0] for root in common)
    if not total:
        return ()
    means: list[dict[str, float]] = []
    for side in (during, before):
        mean: dict[str, float] = defaultdict(float)
        for root in common:
            traces, seconds = side[root]
            for label, spent in seconds.items():
                mean[label] += before[root][0] / total * spent / traces
        means.append(mean)
    return _by_growth(means[0], means[1], "spans")


def _paths(scene: Scene, start_ns: int, end_ns: int) -> dict[str, tuple[int, dict[str, float]]]:
    """By label of the root: how many traces, and seconds on their critical paths by label."""
    window = {"start_ns": start_ns, "end_ns": end_ns}
    begun = scene.tables.query(queries.sql("traces_begun", **window)).to_pylist()[0]["traces"]
    every = max(1, round(begun / MOST_TRACES))
    rows = scene.tables.frame(queries.sql("traced_spans", every=every, **window)).iter_rows()
    found: dict[str, tuple[int, dict[str, float]]] = {}
    for _, trace in groupby(rows, key=lambda row: row[:2]):
        spans = [Span(*row[2:]) for row in trace]
        root = min((span for span in spans if span.parent_id is None), key=lambda span: span.start_ns)
        tree = [span for span in spans if span.parent_id is not None or span is root]
        labels = {span.span_id: span.label for span in tree}
        traces, seconds = found.get(root.label, (0, defaultdict(float)))
        for span_id, spent in critical_path(tree).items():
            seconds[labels[span_id]] += spent / 1e9
        found[root.label] = traces + 1, seconds
    return found


def _of_metrics(scene: Scene) -> tuple[PhaseSeconds, ...]:
    during, before = (_observed(scene, *side) for side in _sides(scene))
    return _by_growth(during, before, "metrics")


def _observed(scene: Scene, start_ns: int, end_ns: int) -> dict[str, float]:
    """Mean seconds by phase; what is left of the whole is ``other``."""
    rows = scene.tables.query(queries.sql("phase_metrics", start_ns=start_ns, end_ns=end_ns)).to_pylist()
    mean = {row["signal"].removeprefix("latency."): row["seconds"] / row["requests"] for row in rows}
    whole = mean.pop("e2e", 0.0)
    return {**mean, "other": max(0.0, whole - sum(mean.values()))}


def _by_growth(now: Means, then: Means, source: PhaseSource) -> tuple[PhaseSeconds, ...]:
    told = [PhaseSeconds(name, now.get(name, 0.0), then.get(name, 0.0), source) for name in now.keys() | then.keys()]
    shown = (one for one in told if max(one.seconds, one.baseline_seconds) >= LEAST_S)
    return tuple(sorted(shown, key=lambda one: (one.baseline_seconds - one.seconds, one.phase)))
