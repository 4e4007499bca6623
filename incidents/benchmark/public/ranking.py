"""Public outages scored: each becomes a store, is investigated as any other, and only then is its label read.

A ranking counts whether or not the analysis abstained. On quiet windows it must name nobody: it abstained, or saw no
incident. Baselines always name somebody, so they have no specificity.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis import queries
from analysis.investigate import investigate
from analysis.queries import Tables
from collectors.store import Store
from incidents.benchmark.baselines import BASELINES
from incidents.benchmark.observed import Observed, filled
from incidents.benchmark.outcome import OURS
from incidents.benchmark.public.metric_table import fill_store
from incidents.benchmark.public.petshop import petshop
from incidents.benchmark.public.ranked_case import QuietCase, RankedCase
from incidents.benchmark.public.rca_csv import rca_csv
from incidents.benchmark.scores import Figures, interval, ranking_scores
from incidents.parallel import run_all

READERS: Mapping[str, Callable[[Path], tuple[list[RankedCase], list[QuietCase]]]] = {"petshop": petshop, "rca-csv": rca_csv}
Scored = dict[str, dict[str, float]]
"""Method -> figure -> value, of one case."""


def score(
    benchmark: str, folder: Path, *, jobs: int = 1, on_done: Callable[[int, int], None] = lambda done, total: None
) -> tuple[dict[str, Any], dict[str, Figures]]:
    """The one object of ``--json`` for our analysis, and the figures of every method with their intervals. Raises BadInput."""
    issues, quiet = READERS[benchmark](folder)
    done: dict[str, Any] = {}
    total = len(issues) + len(quiet)

    def keep(name: str, result: Any) -> None:
        done[name] = result
        on_done(len(done), total)

    run_all(ranked, {case.name: (case,) for case in issues}, jobs, keep)
    run_all(silent, {case.name: (case,) for case in quiet}, jobs, keep)
    scored: list[Scored] = [done[case.name] for case in issues]
    figures = {
        method: {name: interval([one[method][name] for one in scored]) for name in ("top1", "top3", "avg5", "cpu_s_per_case")}
        for method in (OURS, *BASELINES)
    }  # fmt: skip
    figures[OURS]["specificity"] = interval([float(done[case.name]) for case in quiet])
    return one_object(benchmark, len(issues), figures[OURS]), figures


def one_object(benchmark: str, cases: int, figures: Figures) -> dict[str, Any]:
    """What ``--json`` prints; null where there is nothing to judge by."""
    names = ("top1", "top3", "avg5", "specificity", "cpu_s_per_case")
    told = {name: None if math.isnan(figures[name][0]) else round(figures[name][0], 4) for name in names}
    return {"benchmark": benchmark, "cases": cases, **told}


def ranked(case: RankedCase) -> Scored:
    """The scores of every method on one case."""
    with tempfile.TemporaryDirectory() as folder:
        fill_store(Path(folder) / "store", case.table, case.calls)
        with Store.open(Path(folder) / "store") as tables:
            began = time.process_time()
            answer = investigate(tables)
            took = {OURS: time.process_time() - began}
            rankings = {OURS: [(one.entity, one.probability) for one in answer.triggers]}
            seen = observe_series(tables, case)
    for name, baseline in BASELINES.items():
        began = time.process_time()
        rankings[name] = baseline(seen)
        took[name] = time.process_time() - began
    blamed = [f"service:{service}" for service in case.label()]
    return {
        name: {**ranking_scores(ranking, blamed, len(seen.entities)), "cpu_s_per_case": took[name]}
        for name, ranking in rankings.items()
    }


def silent(case: QuietCase) -> bool:
    """Whether the analysis names nobody."""
    with tempfile.TemporaryDirectory() as folder:
        fill_store(Path(folder) / "store", case.table, case.calls)
        with Store.open(Path(folder) / "store") as tables:
            answer = investigate(tables)
    return answer.abstained or not answer.triggers


def observe_series(tables: Tables, case: RankedCase) -> Observed:
    """The series of a store as a matrix, for baselines: a row for each time of the case's table; of all metrics, or of the
    one by which somebody noticed, as published versions of these methods have it."""
    table = case.table
    frame = tables.frame(
        "SELECT s.entity, concat_ws('/', s.name, array_to_string(map_values(s.labels), '/')) AS metric, m.ts_ns, m.value "
        "FROM samples m JOIN series s ON s.series_id = m.series_id WHERE s.entity IS NOT NULL"
    )
    times = np.round(table.times_s * 1e9).astype(np.int64)
    columns, metrics = [], []
    entities = {str(entity) for entity in frame["entity"].to_list()}
    if case.metric:
        frame = frame.filter(frame["metric"] == case.metric)
    for key, part in sorted(frame.group_by("entity", "metric")):
        column = np.full(len(times), np.nan)
        column[np.searchsorted(times, part["ts_ns"].to_numpy())] = part["value"].to_numpy()
        columns.append(column)
        metrics.append((str(key[0]), str(key[1])))
    calls = frozenset((row["src"], row["dst"]) for row in tables.query(queries.sql("relations")).to_pylist())
    alarm = min(max(int(np.searchsorted(table.times_s, case.alarm_s)), 4), len(times) - 2)
    return Observed(
        filled(np.array(columns).T if columns else np.zeros((len(times), 0))), tuple(metrics), alarm, calls,
        tuple(sorted(entities)), f"service:{case.target}",
    )  # fmt: skip
