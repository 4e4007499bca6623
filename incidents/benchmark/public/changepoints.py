"""Change points of the Turing data set (van den Burg and Williams, 2003.06222): JSON series and several people's annotations.

Each series becomes a store, and the analysis says where it changed, with the one setting that it has. F1 with a margin of 5
and covering are those of TCPDBench: recall is the mean over annotators, precision is against all of them together, and index 0
counts as a change for everybody.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from analysis.board import Floats
from analysis.changepoints import change_points
from collectors.errors import BadInput
from collectors.store import Store
from incidents.benchmark.public.metric_table import Column, MetricTable, fill_store
from incidents.parallel import run_all

MARGIN = 5
_STEP_S = 10.0
"""Values follow each other as scrapes do, whatever their real distance."""


def score(
    folder: Path, *, jobs: int = 1, on_done: Callable[[int, int], None] = lambda done, total: None
) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """The one object of ``--json``, and by series F1 and covering of ours and of "no change". Raises BadInput."""
    series = read_series(folder)
    found: dict[str, tuple[list[int], float]] = {}

    def keep(name: str, result: tuple[list[int], float]) -> None:
        found[name] = result
        on_done(len(found), len(series))

    run_all(changes, {name: (values,) for name, values in series.items()}, jobs, keep)
    notes = read_annotations(folder / "annotations.json", series)
    scores = {
        name: {
            "f1": f1(notes[name], found[name][0]), "cover": cover(notes[name], found[name][0], len(values)),
            "no_change_f1": f1(notes[name], []), "no_change_cover": cover(notes[name], [], len(values)),
            "cpu_s": found[name][1],
        }
        for name, values in series.items()
    }  # fmt: skip
    mean = {key: round(float(np.mean([one[key] for one in scores.values()])), 4) for key in next(iter(scores.values()))}
    return {
        "benchmark": "changepoints", "cases": len(series), "f1": mean["f1"], "cover": mean["cover"],
        "cpu_s_per_case": mean["cpu_s"],
    }, scores  # fmt: skip


def read_series(folder: Path) -> dict[str, Floats]:
    """The series with one dimension, by name. Raises BadInput naming file and key."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        if path.name == "annotations.json":
            continue
        try:
            told = json.loads(path.read_text())
            dimensions = told["series"]
            values = np.array([math.nan if one is None else float(one) for one in dimensions[0]["raw"]])
        except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
            raise BadInput(f"{path}: is no series of the Turing data set, it needs series[0].raw ({error!r})") from error
        if len(dimensions) == 1:
            found[str(told.get("name", path.stem))] = values
    if not found:
        raise BadInput(f"{folder}: holds no series; give the folder with the data set's JSON files and annotations.json")
    return found


def read_annotations(path: Path, names: Collection[str]) -> dict[str, list[list[int]]]:
    """The change points of each annotator, for each of ``names``."""
    try:
        told = json.loads(path.read_text())
        return {name: [[int(at) for at in ats] for ats in told[name].values()] for name in names}
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise BadInput(f"{path}: must give each series' change points by annotator ({error!r})") from error


def changes(values: Floats) -> tuple[list[int], float]:
    """Where the analysis sees the series change [places], and the CPU seconds that it took."""
    table = MetricTable(np.arange(1.0, len(values) + 1.0) * np.float64(_STEP_S), (Column("series", "value"),), values[:, None])
    with tempfile.TemporaryDirectory() as folder:
        fill_store(Path(folder) / "store", table)
        with Store.open(Path(folder) / "store") as tables:
            began = time.process_time()
            rows = tables.frame("SELECT ts_ns, value FROM samples ORDER BY ts_ns")
            read = np.full(len(values), math.nan)
            read[np.round(rows["ts_ns"].to_numpy() / (_STEP_S * 1e9)).astype(int) - 1] = rows["value"].to_numpy()
            return change_points(read), time.process_time() - began


def f1(annotations: Sequence[Collection[int]], predictions: Collection[int], margin: int = MARGIN) -> float:
    """F1 of TCPDBench: each true point is found by at most one prediction within ``margin``."""
    said = {0, *predictions}
    people = [{0, *points} for points in annotations]
    precision = len(_found(set().union(*people), said, margin)) / len(said)
    recall = float(np.mean([len(_found(points, said, margin)) / len(points) for points in people]))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _found(points: Collection[int], said: Collection[int], margin: int) -> set[int]:
    left, found = set(said), set()
    for point in sorted(points):
        near = [one for one in left if abs(point - one) <= margin]
        if near:
            left.remove(min(near, key=lambda one: (abs(point - one), one)))
            found.add(point)
    return found


def cover(annotations: Sequence[Collection[int]], predictions: Collection[int], count: int) -> float:
    """Covering of TCPDBench: the mean over annotators of how well each of their segments is covered by one of ours."""
    said = _segments(predictions, count)
    return float(np.mean([_covering(_segments(points, count), said, count) for points in annotations]))


def _segments(points: Collection[int], count: int) -> list[tuple[int, int]]:
    edges = [0, *sorted(point for point in set(points) if 0 < point < count), count]
    return list(pairwise(edges))


def _covering(truth: Sequence[tuple[int, int]], said: Sequence[tuple[int, int]], count: int) -> float:
    return sum((last - first) * max(_jaccard((first, last), one) for one in said) for first, last in truth) / count


def _jaccard(one: tuple[int, int], other: tuple[int, int]) -> float:
    both = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    return both / (one[1] - one[0] + other[1] - other[0] - both)
