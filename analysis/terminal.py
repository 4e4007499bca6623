"""An investigation as text for a tired human: what users felt, what set it off, what kept it up, what it was not.

Plain text of at most 100 columns, no colour: it goes into tickets and chats as it is. Times are UTC.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby

from analysis.investigation import (
    CascadeEdge,
    Evidence,
    Goodput,
    Impact,
    Instant,
    Investigation,
    Loop,
    Onset,
    Phase,
    Trigger,
)
from analysis.mechanisms import catalogue
from analysis.signal_catalogue import SIGNALS
from collectors.clock import iso

WIDTH = 100
_LABEL = 10
_BARS = " ▁▂▃▄▅▆▇█"
_MOST_BARS = 60


def render(found: Investigation) -> str:
    """The whole answer as text, without a newline at its end."""
    parts = [heading(found), _impact(found.impact)]
    if found.impact.phases:
        parts += [
            _affected(found),
            _initiators(found),
            _triggers(found),
            _loops("AMPLIFIED", [loop for loop in found.amplifiers if loop not in found.sustainers]),
            _loops("KEPT DOWN", found.sustainers),
            _free(found),
            _chain(found.cascade),
            _seconds(found),
            _blame(found),
            _rejected(found),
        ]
    parts.append(_unseen(found))
    return "\n\n".join(part for part in parts if part)


def heading(found: Investigation) -> str:
    """The first line: when, and the verdict."""
    window = f"{_day(found.window.start)} {_clock(found.window.start)} to {_clock(found.window.end)} UTC"
    if not found.impact.phases:
        verdict = "nothing can be judged" if found.abstained else "no outage"
    elif found.abstained or not found.triggers:
        verdict = "an outage, and no trigger that stands out"
    else:
        best = found.triggers[0]
        kept = f", kept up by {found.sustainers[0].mechanism}" if found.sustainers else ""
        verdict = f"{best.entity} set it off: {best.mechanism}{kept}"
    return f"{window}: {verdict}"


def _impact(impact: Impact) -> str:
    if impact.start is None or impact.end is None:
        return _section("IMPACT", [impact.slo])
    share = f"{impact.bad_request_share:.0%} of requests bad for {span(impact.end - impact.start)}"
    lines = [share, f"({impact.slo})"]
    lines += [_phase(phase, impact.goodput) for phase in impact.phases]
    return _section("IMPACT", [*lines, _bars(impact.goodput)])


def _phase(phase: Phase, goodput: Sequence[Goodput]) -> str:
    inside = [one for one in goodput if phase.start <= one.start < phase.end]
    requests, good = sum(one.requests for one in inside), sum(one.good for one in inside)
    answered = f"{good} of {requests} requests good" if requests else "no requests"
    return f"{_clock(phase.start)}  {phase.state:<10} {span(phase.end - phase.start):<13} {answered}"


def _bars(goodput: Sequence[Goodput]) -> str:
    """Share of good requests over time, one bar for several entries."""
    each = max(1, -(-len(goodput) // _MOST_BARS))
    groups = [goodput[i : i + each] for i in range(0, len(goodput), each)]
    bars = ""
    for group in groups:
        requests, good = sum(one.requests for one in group), sum(one.good for one in group)
        bars += _BARS[round(good / requests * (len(_BARS) - 1))] if requests else "·"
    return f"good share {_clock(goodput[0].start)} |{bars}|" if goodput else ""


def _affected(found: Investigation) -> str:
    """Said where it did not hit all alike."""
    shares = [one.unanswered for one in found.affected]
    if len(shares) < 3 or max(shares) - min(shares) < 0.1:
        return ""
    lines = [f"{one.entity}: {one.unanswered:.0%} of {one.requests} requests unanswered" for one in found.affected]
    return _section("WHOM", lines)


def _initiators(found: Investigation) -> str:
    lines = [f"{_clock(one.at)}  {one.event}" for one in found.initiators]
    return _section("CHANGE", lines or ["no recorded change fits the trigger's place and time"])


def _triggers(found: Investigation) -> str:
    if not found.triggers:
        return _section("TRIGGER", ["none can be named"])
    best, *others = found.triggers
    kind = "score" if found.calibration.kind == "score" else "probability"
    lead = "best guess, not claimed: " if found.abstained else ""
    lines = [f"{lead}{best.entity} {best.mechanism}: {_title(best)} ({kind} {best.probability:.2f})"]
    lines.append(f"began {_between(best.onset)}")
    lines += _claims(best.evidence, best.entity)
    if best.also:
        lines.append(f"the same shows on {', '.join(best.also)}")
    if best.equivalent_to:
        lines.append(f"this telemetry cannot tell it from {', '.join(best.equivalent_to)}")
    for one in others:
        episode = found.episodes[one.episode] if one.episode < len(found.episodes) else None
        again = one.episode != best.episode and episode is not None
        when = f"{episode.note} at {_clock(episode.start)}" if again and episode is not None else "less likely"
        lines.append(f"{when}: {one.entity} {one.mechanism} ({kind} {one.probability:.2f})")
    return _section("TRIGGER", lines)


def _loops(label: str, loops: Iterable[Loop]) -> str:
    lines = []
    for loop in loops:
        basis = "same demand, less served" if loop.basis == "hysteresis" else "model of its load"
        low, high = loop.gain
        lines.append(f"{loop.entity} {loop.mechanism}: {catalogue()[loop.mechanism].title}")
        if loop.basis != "signal":
            lines.append(f"it offers {low:.2f} to {high:.2f} times what the fleet can carry; judged by {loop.basis}: {basis}")
        lines += _claims(loop.evidence, loop.entity)
        if loop.shed is not None:
            (least, most), (short, long) = loop.shed.share, loop.shed.seconds
            lines.append(f"to break it: turn away {least:.0%} to {most:.0%} of arrivals for {short:.0f} to {long:.0f} s")
    return _section(label, lines) if lines else ""


def _chain(cascade: Sequence[CascadeEdge]) -> str:
    """Edges that differ only in one end's name share a line."""
    lines = []
    for (from_kind, to_kind), group in groupby(cascade, key=lambda edge: (_kind(edge.from_), _kind(edge.to))):
        edges = list(group)
        sources, targets = (sorted({getattr(edge, end) for edge in edges}) for end in ("from_", "to"))
        low, high = min(edge.lag_range_s[0] for edge in edges), max(edge.lag_range_s[1] for edge in edges)
        lines.append(f"{_names(from_kind, sources)} -> {_names(to_kind, targets)}, {low:.0f} to {high:.0f} s later")
        seen: dict[str, Evidence] = {}
        for edge in edges:
            for item in edge.evidence:
                seen.setdefault(item.claim, item)
        lines += _claims(list(seen.values()), "")
    return _section("CHAIN", lines) if lines else ""


_PHASES = 12
_AT = {
    "requests": " and at the healthy mix of prompts and answers", "spans": " and on the critical path of its trace",
    "metrics": " of those that engines finished, whatever they asked for",
}  # fmt: skip


def _seconds(found: Investigation) -> str:
    shown = [one for one in found.phase_seconds if max(one.seconds, one.baseline_seconds) >= 0.05][:_PHASES]
    if not shown:
        return ""
    wide = max(12, *(len(one.phase) for one in shown))
    rows = [f"{one.phase:<{wide}} {one.seconds:7.2f} s   (healthy {one.baseline_seconds:.2f} s)" for one in shown]
    return _section("AN ATTEMPT", [f"spent, on average{_AT[shown[0].source]},", *rows])


def _free(found: Investigation) -> str:
    if found.headroom is None:
        return ""
    low, high = found.headroom
    return _section("BEFORE", [f"{low:.0%} to {high:.0%} of the fleet's capacity was free, by the most work it was seen to do"])


def _blame(found: Investigation) -> str:
    lines = [
        f"a request of {one.victim} waited {one.seconds:.2f} s in shared steps for tokens of {one.culprit} "
        f"(healthy {one.baseline_seconds:.2f} s)"
        for one in found.blame if one.victim != one.culprit and one.seconds >= 0.05
    ]  # fmt: skip
    if found.waste is not None and found.waste.engine_s > 0:
        waste = found.waste
        joules = "" if waste.joules is None else f", {waste.joules:,.0f} J"
        lines.append(f"of {waste.engine_s:,.0f} s of engine time {waste.abandoned_s:,.0f} s were for clients that had "
                     f"left{joules}; {waste.recomputed_s:,.0f} s computed again what preemption threw away")
    return _section("COST", lines) if lines else ""


def _rejected(found: Investigation) -> str:
    """What looks like the trigger, and too many users, with their reasons; the rest by name."""
    best = catalogue()[found.triggers[0].mechanism] if found.triggers else None
    alike = {catalogue()[name].hypothesis for name in best.look_alikes} if best is not None else set()
    told = [one for one in found.rejected if one.hypothesis in alike or one.hypothesis == "user_growth" or best is None]
    rest = [one.hypothesis for one in found.rejected if one not in told]
    lines = [f"{one.hypothesis}: {one.why}" for one in told]
    return _section("RULED OUT", [*lines, f"also {', '.join(rest)}"] if rest else lines)


def _unseen(found: Investigation) -> str:
    lines = list(found.coverage.warnings)
    held = {SIGNALS[name].kind for name in found.coverage.signals}
    missing = [SIGNALS[name] for name in found.coverage.missing]
    kinds = sorted({signal.kind.replace("_", " ") for signal in missing if signal.kind not in held})
    if kinds:
        lines.append(f"nothing is measured of: {', '.join(kinds)}")
    if single := [signal.name for signal in missing if signal.kind in held]:
        lines.append(f"not in the telemetry: {', '.join(single)}")
    return _section("NOT SEEN", lines or ["nothing that the catalogue asks for is missing"])


def _claims(evidence: Iterable[Evidence], own: str) -> list[str]:
    """One line a claim; the name of the entity in whose section it stands is left out."""
    lines = []
    for item in evidence:
        claim = item.claim.removeprefix(f"{own}: ") if own else item.claim
        usual = "" if item.baseline is None else f" (healthy {_number(item.baseline)})"
        lines.append(f"- {claim}: {_number(item.value)}{usual}")
    return lines


def _section(label: str, lines: Iterable[str]) -> str:
    """Lines wrapped to ``WIDTH`` behind the label; what is wrapped is indented further."""
    wrapped = []
    for line in lines:
        hanging = " " * (2 if line.startswith("- ") else 4)
        wrapped += textwrap.wrap(
            line, WIDTH - _LABEL - 2, subsequent_indent=hanging, drop_whitespace=True, replace_whitespace=False,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    first = label.ljust(_LABEL) + "  "
    return "\n".join(((first if i == 0 else " " * len(first)) + line).rstrip() for i, line in enumerate(wrapped))


def _title(trigger: Trigger) -> str:
    return catalogue()[trigger.mechanism].title


def _kind(entity: str) -> str:
    return entity.partition(":")[0]


def _names(kind: str, entities: Sequence[str]) -> str:
    """``replica:r1, r2``."""
    return f"{kind}:" + ", ".join(entity.partition(":")[2] for entity in entities)


def _between(onset: Onset) -> str:
    return f"between {_clock(onset.low)} and {_clock(onset.high)}"


def _number(value: float | None) -> str:
    if value is None:
        return "unknown"
    if value != 0 and abs(value) < 0.001:
        return f"{value:.1g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def span(ns: int) -> str:
    """Nanoseconds in hours, minutes and seconds."""
    minutes, seconds = divmod(round(ns / 1e9), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{amount} {unit}" for amount, unit in ((hours, "h"), (minutes, "min"), (seconds, "s")) if amount]
    return " ".join(parts) or "0 s"


def _day(at: Instant) -> str:
    return iso(at)[:10]


def _clock(at: Instant) -> str:
    return iso(at)[11:19]
