"""From telemetry to an answer: impact, healthy time, signals, triggers, loops, cascade, and what was ruled out."""

from __future__ import annotations

from analysis import queries
from analysis.board import Bins, load_board
from analysis.cascade import trace_cascade
from analysis.coverage import describe, row_counts
from analysis.episodes import changes_in, deliberate, main_stretch
from analysis.impact import Finding, Stretch, choose_bins, find_impact, load_users
from analysis.investigation import (
    Calibration,
    Episode,
    Evidence,
    Impact,
    Initiator,
    Instant,
    Investigation,
    Trigger,
    Window,
)
from analysis.loops import find_loops
from analysis.phases import phase_seconds
from analysis.posterior import Hypothesis, rank
from analysis.queries import Tables
from analysis.rejections import rule_out
from analysis.retry_model import headroom
from analysis.scene import Change, Scene, ask, look
from analysis.services import explain_services
from analysis.step_cost import fit_step_cost
from analysis.triggers import NAMED, entity_probability, name_triggers
from collectors.clock import iso
from collectors.errors import BadInput

_AFTERWARDS = "no healthy time before the impact: compared with time after it, and no trigger is claimed"


def investigate(tables: Tables, window: tuple[int, int] | None = None) -> Investigation:
    """Investigate a store from its telemetry alone. ``window``: start and end in UTC ns, all there is when None.

    Without an incident the lists are empty. ``abstained``: something happened and no trigger stands out, or nothing can
    be judged. Raises BadInput for a window outside of what the store holds.
    """
    rows = row_counts(tables)
    start_ns, end_ns = _window(tables, window)
    whole = Window(Instant(start_ns), Instant(end_ns))
    users = load_users(tables, start_ns, end_ns)
    if len(users.begun) == 0:
        cover = describe(tables, rows, None, [])
        impact = Impact("no request was seen, so what users felt cannot be judged", None, None, 0.0)
        told = explain_services(tables, whole, cover)
        return told or Investigation(whole, cover, Calibration(), abstained=True, impact=impact)
    bins = choose_bins(users, start_ns, end_ns)
    finding = find_impact(users, bins)
    if not finding.stretches:
        cost = fit_step_cost(tables, bins, 0, bins.count)
        board = load_board(tables, bins, {} if cost is None else cost.parameters())
        return Investigation(whole, describe(tables, rows, board, []), Calibration(), abstained=False, impact=finding.impact)
    return _explain(tables, rows, whole, bins, finding)


def _window(tables: Tables, window: tuple[int, int] | None) -> tuple[int, int]:
    row = tables.query(queries.sql("window")).to_pylist()[0]
    if row["start_ns"] is None:
        return window or (0, 0)
    start, end = row["start_ns"], row["end_ns"]
    if window is None:
        return start, end
    if window[0] >= end or window[1] <= start:
        raise BadInput(f"the window holds no telemetry; give one between {iso(start)} and {iso(end)}, what the store holds")
    return max(start, window[0]), min(end, window[1])


def _explain(tables: Tables, rows: dict[str, int], whole: Window, bins: Bins, finding: Finding) -> Investigation:
    """The worst stretch of bad service is explained; what surrounds it is told."""
    changes = changes_in(tables, bins)
    main = main_stretch(finding, bins, changes)
    scene = look(tables, bins, finding, main, changes)
    if scene is None:
        cover = describe(tables, rows, load_board(tables, bins, {}), ["the telemetry holds no healthy time to compare with"])
        return Investigation(whole, cover, Calibration(), abstained=True, impact=finding.impact,
                             residual_probability=1.0, episodes=_episodes(bins, finding, main, changes, ()))
    ranked = rank(scene)
    triggers = name_triggers(scene, ranked)
    best = ranked[0][0]
    sure = entity_probability(ranked, best.entity)
    abstained = not (sure >= NAMED and best.signature.state == "there" and scene.healthy.before)
    amplifiers, sustainers = find_loops(scene, None if abstained else best)
    return Investigation(
        whole,
        describe(tables, rows, scene.board, [] if scene.healthy.before else [_AFTERWARDS]),
        Calibration(),
        abstained,
        finding.impact,
        () if abstained else _initiators(scene, best),
        triggers,
        max(0.0, 1.0 - sum(trigger.probability for trigger in triggers)),
        amplifiers,
        sustainers,
        _episodes(bins, finding, main, changes, triggers[:1]),
        () if abstained else trace_cascade(scene, best),
        rule_out(scene, ranked),
        phase_seconds(scene),
        headroom(scene),
    )


def _initiators(scene: Scene, best: Hypothesis) -> tuple[Initiator, ...]:
    change = best.case.change
    if change is None:
        return ()
    where = f"kind = {queries.literal(change.kind)} AND ts_ns = {change.at_ns}"
    sql = (f"SELECT ({scene.bins.at(scene.first)} - max(ts_ns)) / 1e9 AS value, CAST(NULL AS DOUBLE) AS baseline "
           f"FROM events WHERE {where}")
    evidence: Evidence = ask(scene.tables, f"{change.kind} on {change.entity or 'the fleet'}: seconds before the impact", sql)
    text = f"{change.kind} on {change.entity}" if change.entity else change.kind
    return (Initiator(f"{text}: {change.summary}" if change.summary else text, Instant(change.at_ns), (evidence,)),)


def _episodes(
    bins: Bins, finding: Finding, main: Stretch, changes: tuple[Change, ...], triggers: tuple[Trigger, ...]
) -> tuple[Episode, ...]:
    """The stretches of bad service; the triggers are those of the main one."""
    return tuple(
        Episode(
            Instant(bins.at(stretch[0])), Instant(bins.at(stretch[1])),
            tuple(trigger.rank for trigger in triggers) if stretch == main else (),
            "users were turned away" if deliberate(bins, stretch, changes) and stretch != main
            else "relapse" if stretch > main else "before it" if stretch < main else "",
        )
        for stretch in finding.stretches
    )  # fmt: skip
