"""From telemetry to an answer: impact, healthy time, signals, triggers, loops, cascade, and what was ruled out."""

from __future__ import annotations

from dataclasses import dataclass, field

from analysis import queries
from analysis.affected import who_was_hit
from analysis.blame import wasted_work, who_slowed_whom
from analysis.board import Bins, load_board
from analysis.calibrated import measured_calibration
from analysis.cascade import trace_cascade
from analysis.counted import SAMPLED, counted_bins, counted_impact, recorded_share
from analysis.coverage import describe, row_counts
from analysis.episodes import changes_in, deliberate, main_stretch
from analysis.evidence_quality import Quality, assess
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
from analysis.posterior import Hypothesis, Ranking, rank
from analysis.queries import Tables
from analysis.rejections import rule_out
from analysis.retry_model import headroom
from analysis.scene import Change, Scene, ask, look
from analysis.services import explain_services
from analysis.step_cost import fit_step_cost
from analysis.triggers import NAMED, entity_probability, name_triggers
from collectors.clock import iso
from collectors.errors import BadInput

MOST_TRIGGERS = 8
_AFTERWARDS = "no healthy time before the impact: compared with time after it, and no trigger is claimed"


def investigate(tables: Tables, window: tuple[int, int] | None = None) -> Investigation:
    """Investigate a store from its telemetry alone. ``window``: start and end in UTC ns, all there is when None.

    Without an incident the lists are empty. ``abstained``: something happened and no trigger stands out, or nothing can
    be judged. Raises BadInput for a window outside of what the store holds.
    """
    return study(tables, window).answer


@dataclass(frozen=True, slots=True)
class Study:
    """An answer and what it was got from; no scene where nothing was wrong, or nothing could be compared."""

    answer: Investigation
    scene: Scene | None = None
    ranked: Ranking = field(default_factory=list)


def study(tables: Tables, window: tuple[int, int] | None = None) -> Study:
    """``investigate``, with its scene and ranking for whoever wants to look closer."""
    rows = row_counts(tables)
    start_ns, end_ns = store_window(tables, window)
    whole = Window(Instant(start_ns), Instant(end_ns))
    recorded = recorded_share(tables, start_ns, end_ns)
    quality = assess(tables, start_ns, end_ns, recorded)
    users = load_users(tables, start_ns, end_ns)
    sampled = recorded is not None and recorded < SAMPLED
    found = None
    if len(users.begun) == 0 or sampled:
        bins = counted_bins(start_ns, end_ns)
        found = counted_impact(tables, bins)
    if found is None and len(users.begun) == 0:
        cover = describe(tables, rows, None, list(quality.warnings))
        impact = Impact("no request was seen, so what users felt cannot be judged", None, None, 0.0)
        told = explain_services(tables, whole, cover)
        return Study(told or Investigation(whole, cover, Calibration(), abstained=True, impact=impact))
    if found is None:
        bins = choose_bins(users, start_ns, end_ns)
        found = find_impact(users, bins)
    if not found.stretches:
        cost = fit_step_cost(tables, bins, 0, bins.count)
        board = load_board(tables, bins, {} if cost is None else cost.parameters())
        cover = describe(tables, rows, board, list(quality.warnings))
        return Study(Investigation(whole, cover, Calibration(), abstained=False, impact=found.impact))
    return _explain(tables, rows, whole, bins, found, quality, sampled)


def store_window(tables: Tables, window: tuple[int, int] | None) -> tuple[int, int]:
    """Start and end, UTC ns, of what is looked at. Raises BadInput for a window beside the telemetry."""
    row = tables.query(queries.sql("window")).to_pylist()[0]
    if row["start_ns"] is None:
        return window or (0, 0)
    start, end = row["start_ns"], row["end_ns"]
    if window is None:
        return start, end
    if window[0] >= end or window[1] <= start:
        raise BadInput(f"the window holds no telemetry; give one between {iso(start)} and {iso(end)}, what the store holds")
    return max(start, window[0]), min(end, window[1])


def _explain(
    tables: Tables, rows: dict[str, int], whole: Window, bins: Bins, finding: Finding, quality: Quality, sampled: bool,
) -> Study:
    """The stretch that the incident began with is explained; later ones have triggers of their own."""
    changes = changes_in(tables, bins)
    main = main_stretch(finding, bins, changes)
    scene = look(tables, bins, finding, main, changes, sampled=sampled)
    if scene is None:
        more = [*quality.warnings, "the telemetry holds no healthy time to compare with"]
        cover = describe(tables, rows, load_board(tables, bins, {}), more)
        return Study(Investigation(whole, cover, Calibration(), abstained=True, impact=finding.impact, residual_probability=1.0,
                                   episodes=_episodes(bins, finding, main, changes, ())))  # fmt: skip
    ranked = rank(scene, doubt=quality.doubt)
    place = finding.stretches.index(main)
    triggers = name_triggers(scene, ranked, episode=place)
    best = ranked[0][0]
    sure = entity_probability(ranked, best.entity)
    abstained = not (sure >= NAMED and triggers and best.signature.state == "there" and scene.healthy.before)
    own = triggers
    for number, stretch in enumerate(finding.stretches):
        if number != place and not deliberate(bins, stretch, changes) and len(own) < MOST_TRIGGERS:
            own += _of_episode(scene, stretch, number, len(own) + 1, quality.doubt)
    amplifiers, sustainers = find_loops(scene, None if abstained else best)
    more = [*quality.warnings, *([] if scene.healthy.before else [_AFTERWARDS])]
    answer = Investigation(
        whole,
        describe(tables, rows, scene.board, more),
        measured_calibration(),
        abstained,
        finding.impact,
        () if abstained else _initiators(scene, best),
        own,
        max(0.0, 1.0 - sum(trigger.probability for trigger in triggers)),
        amplifiers,
        sustainers,
        _episodes(bins, finding, main, changes, own),
        () if abstained else trace_cascade(scene, best),
        rule_out(scene, ranked),
        phase_seconds(scene),
        headroom(scene),
        who_slowed_whom(scene),
        wasted_work(scene),
        who_was_hit(scene),
    )
    return Study(answer, scene, ranked)


def _of_episode(scene: Scene, stretch: Stretch, number: int, first_rank: int, doubt: float) -> tuple[Trigger, ...]:
    """The trigger of another stretch, where one stands out."""
    other = look(scene.tables, scene.bins, scene.finding, stretch, scene.changes, like=scene)
    if other is None or not other.healthy.before:
        return ()
    ranked = rank(other, doubt=doubt)
    best = ranked[0][0]
    if entity_probability(ranked, best.entity) < NAMED or best.signature.state != "there":
        return ()
    return name_triggers(other, ranked, first_rank=first_rank, most=1, episode=number)


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
    """The stretches of bad service; of the main one's triggers only the first is claimed."""
    first = {number: min(one.rank for one in triggers if one.episode == number) for number in {one.episode for one in triggers}}
    return tuple(
        Episode(
            Instant(bins.at(stretch[0])), Instant(bins.at(stretch[1])),
            (first[number],) if number in first else (),
            "users were turned away" if deliberate(bins, stretch, changes) and stretch != main
            else "relapse" if stretch > main else "before it" if stretch < main else "",
        )
        for number, stretch in enumerate(finding.stretches)
    )  # fmt: skip
