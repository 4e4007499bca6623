"""The stretches of bad service in order: which one the incident began with, and what each is to the others."""

from __future__ import annotations

from collections.abc import Sequence

from analysis import queries
from analysis.board import Bins
from analysis.impact import Finding, Stretch
from analysis.queries import Tables
from analysis.scene import Change

MAIN_SHARE = 0.25
"""Share of the worst stretch's bad requests from which a stretch may be where the incident began."""
BEFORE_S = 60.0
"""Telemetry before a stretch that can explain it."""
DELIBERATE_S = 30.0
"""A stretch that begins so soon after somebody began to turn users away is that somebody's doing."""


def changes_in(tables: Tables, bins: Bins) -> tuple[Change, ...]:
    """The change log of the window."""
    rows = tables.query(queries.sql("changes", start_ns=bins.start_ns, end_ns=bins.end_ns)).to_pylist()
    return tuple(Change(row["ts_ns"], row["kind"], row["entity"], row["summary"]) for row in rows)


def deliberate(bins: Bins, stretch: Stretch, changes: Sequence[Change]) -> bool:
    """Whether the stretch began when users were turned away on purpose, as the change log has it."""
    begin = bins.at(stretch[0])
    return any(change.kind == "load_shed" and abs(begin - change.at_ns) <= DELIBERATE_S * 1e9 for change in changes)


def main_stretch(finding: Finding, bins: Bins, changes: Sequence[Change]) -> Stretch:
    """The first stretch that was an outage, or else has a quarter of the worst one's bad requests: where the incident proper
    began. Operators who turn users away cure; only where nothing else was bad is that the incident."""
    grown = [one for one in finding.stretches if not deliberate(bins, one, changes)] or list(finding.stretches)
    most = max(map(finding.lost, grown))
    large = [one for one in grown if finding.is_outage(one) or finding.lost(one) >= MAIN_SHARE * most]
    # What was bad when the telemetry begins has nothing before it that could explain it.
    return next((one for one in large if one[0] >= max(4, bins.wide(BEFORE_S))), large[0])
