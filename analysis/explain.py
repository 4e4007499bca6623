"""One hypothesis, feature by feature: what was looked for, what was seen, and what it is worth."""

from __future__ import annotations

import math

from analysis.investigate import Study
from analysis.posterior import Hypothesis, shipped_weights
from analysis.readings import Reading
from collectors.clock import iso
from collectors.errors import BadInput, nearest


def explain(study: Study, hypothesis: str) -> list[tuple[str, ...]]:
    """Rows of a table: role, signal, entity, state, size, how sure, log odds. ``hypothesis``: a mechanism, or an entity and a
    mechanism with a blank between. Raises BadInput when nothing was ranked, or nothing of that name."""
    if not study.ranked:
        raise BadInput("no hypothesis was weighed: nothing was wrong, or there was no healthy time to compare with")
    entity, _, mechanism = hypothesis.rpartition(" ")
    found = [(h, p) for h, p in study.ranked if h.mechanism.name == mechanism and entity in ("", h.entity)]
    if not found:
        both = [(h.mechanism.name, f"{h.entity} {h.mechanism.name}") for h, _ in study.ranked]
        names = sorted({name for pair in both for name in pair})
        raise BadInput(f"--explain {hypothesis!r}: no such hypothesis; {nearest(hypothesis, names)}")
    best, probability = found[0]
    weights = shipped_weights()
    rows: list[tuple[str, ...]] = [("part", "signal", "seen on", "", "size", "sure", "log odds")]
    for reading in best.case.readings:
        counted = not (best.mechanism.factor and reading.move.role == "signature")
        rows.append(_row(reading, weights.log_odds(reading) if counted else math.nan))
    rows += _rest(best, probability)
    return rows


def _row(reading: Reading, worth: float) -> tuple[str, ...]:
    found = reading.found
    where = "" if found is None else f"{found.entity} from {iso(found.onset.low)[11:19]}"
    size = "" if found is None else f"{found.effect:.1f}"
    sure = "" if found is None else f"{found.sure:.1f}"
    return (reading.move.role, f"{reading.move.signal} {reading.move.direction}", where, reading.state, size, sure,
            "" if math.isnan(worth) else f"{worth:+.2f}")  # fmt: skip


def _rest(best: Hypothesis, probability: float) -> list[tuple[str, ...]]:
    weights = shipped_weights()
    rows: list[tuple[str, ...]] = []
    counted = [r for r in best.case.readings if not (best.mechanism.factor and r.move.role == "signature")]
    total = sum(map(weights.log_odds, counted))
    if best.mechanism.factor:
        known = not math.isnan(best.case.factor)
        worth = weights.factor * best.case.factor if known else weights.signature_absent
        rows.append(("factor", best.mechanism.factor, best.entity, "", "", "", f"{worth:+.2f}"))
        total += worth
    if not best.case.reaches_users:
        rows.append(("place", "nothing leads from it to users", best.entity, "", "", "", f"{weights.unreachable:+.2f}"))
        total += weights.unreachable
    if best.case.change is not None:
        rows.append(("change", best.case.change.kind, best.case.change.entity, "recorded", "", "", ""))
    rows.append(("order", "what began before it, the change log", best.entity, "", "", "", f"{best.score - total:+.2f}"))
    sum_up = ("together", best.mechanism.name, best.entity, f"probability {probability:.3f}", "", "", f"{best.score:+.2f}")
    return [*rows, sum_up]
