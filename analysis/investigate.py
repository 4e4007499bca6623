"""From telemetry to an answer: impact, healthy time, signals, triggers, loops, cascade, and what was ruled out."""

from __future__ import annotations

from dataclasses import replace

from analysis import queries
from analysis.cascade import trace_cascade
from analysis.coverage import describe, row_counts
from analysis.impact import Finding, choose_bins, find_impact, load_users
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
from analysis.onsets import choose_healthy
from analysis.phases import phase_seconds
from analysis.queries import Tables
from analysis.rejections import rule_out
from analysis.scene import Change, Scene, ask
from analysis.signals import Bins, fit_step_cost, load_board
from analysis.triggers import NAMED, Hypothesis, change_before, name_triggers, rank


def investigate(tables: Tables, window: tuple[int, int] | None = None) -> Investigation:
    """Investigate a store from its telemetry alone. ``window``: start and end in UTC ns, all there is when None.

    Without an incident the lists are empty. ``abstained``: something happened and no trigger stands out.
    """
    rows = row_counts(tables)
    start_ns, end_ns = _window(tables, window)
    whole = Window(Instant(start_ns), Instant(end_ns))
    if rows["requests"] == 0 or end_ns <= start_ns:
        impact = Impact("no request was seen, so what users felt cannot be judged", None, None, 0.0)
        return Investigation(whole, describe(tables, rows, None, []), Calibration(), abstained=True, impact=impact)
    users = load_users(tables, start_ns, end_ns)
    bins = choose_bins(users, start_ns, end_ns)
    finding = find_impact(users, bins)
    if not finding.stretches:
        cover = describe(tables, rows, load_board(tables, bins, None), [])
        return Investigation(whole, cover, Calibration(), abstained=False, impact=finding.impact)
    return _explain(tables, rows, whole, bins, finding)


def _window(tables: Tables, window: tuple[int, int] | None) -> tuple[int, int]:
    row = tables.query(queries.sql("window")).to_pylist()[0]
    if row["start_ns"] is None:
        return window or (0, 0)
    start, end = row["start_ns"], row["end_ns"]
    return (start, end) if window is None else (max(start, window[0]), min(end, window[1]))


def _explain(tables: Tables, rows: dict[str, int], whole: Window, bins: Bins, finding: Finding) -> Investigation:
    first, last = finding.stretches[0]
    over = finding.stretches[-1][1] if finding.stretches[-1][1] < bins.count else None
    cost = fit_step_cost(tables, bins.start_ns, bins.at(max(first, 1)), bins.width_ns)
    board = load_board(tables, bins, cost)
    healthy = choose_healthy(board, bins, first, over)
    if healthy is None:
        cover = describe(tables, rows, board, ["the telemetry holds no healthy time to compare with"])
        return Investigation(whole, cover, Calibration(), abstained=True, impact=finding.impact,
                             residual_probability=1.0, episodes=_episodes(bins, finding, ()))
    warnings = [] if healthy.last <= first else ["too little healthy time before the impact: compared with time after it"]
    scene = Scene(tables, bins, board, cost, healthy, finding, first, last, *_surroundings(tables, whole))
    ranked = rank(scene)
    triggers = name_triggers(scene, ranked)
    abstained = triggers[0].probability < NAMED
    best = ranked[0][0]
    amplifiers, sustainers = find_loops(scene, None if abstained else best)
    return Investigation(
        whole,
        describe(tables, rows, board, warnings),
        Calibration(),
        abstained,
        finding.impact,
        () if abstained else _initiators(scene, best, triggers[0]),
        triggers,
        max(0.0, 1.0 - sum(trigger.probability for trigger in triggers)),
        amplifiers,
        sustainers,
        _episodes(bins, finding, triggers[:1]),
        () if abstained else trace_cascade(scene, best),
        rule_out(scene, ranked),
        phase_seconds(scene),
    )


def _surroundings(tables: Tables, whole: Window) -> tuple[tuple[str, ...], frozenset[tuple[str, str]], tuple[Change, ...]]:
    entities = {row["entity"] for row in tables.query(queries.sql("entities")).to_pylist()}
    relations = {(row["src"], row["dst"]) for row in tables.query(queries.sql("relations")).to_pylist()}
    cohorts = {row["cohort"] for row in tables.query("SELECT DISTINCT COALESCE(cohort, 'all') AS cohort FROM requests").to_pylist()}
    rows = tables.query(queries.sql("changes", start_ns=whole.start, end_ns=whole.end)).to_pylist()
    changes = tuple(Change(row["ts_ns"], row["kind"], row["entity"], row["summary"]) for row in rows)
    return tuple(sorted(entities | {f"cohort:{name}" for name in cohorts})), frozenset(relations), changes


def _initiators(scene: Scene, best: Hypothesis, trigger: Trigger) -> tuple[Initiator, ...]:
    change = change_before(scene, best.mechanism, best.entity, trigger.onset)
    if change is None:
        return ()
    where = f"kind = {queries.literal(change.kind)} AND ts_ns = {change.at_ns}"
    sql = (f"SELECT ({scene.bins.at(scene.first)} - max(ts_ns)) / 1e9 AS value, CAST(NULL AS DOUBLE) AS baseline "
           f"FROM events WHERE {where}")
    evidence: Evidence = ask(scene.tables, f"{change.kind} on {change.entity or 'the fleet'}: seconds before the impact", sql)
    text = f"{change.kind} on {change.entity}" if change.entity else change.kind
    return (Initiator(f"{text}: {change.summary}" if change.summary else text, Instant(change.at_ns), (evidence,)),)


def _episodes(bins: Bins, finding: Finding, triggers: tuple[Trigger, ...]) -> tuple[Episode, ...]:
    episodes = []
    for number, (first, last) in enumerate(finding.stretches):
        episode = Episode(Instant(bins.at(first)), Instant(bins.at(last)), tuple(t.rank for t in triggers))
        episodes.append(episode if number == 0 else replace(episode, triggers=(), note="relapse"))
    return tuple(episodes)


