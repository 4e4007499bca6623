"""From rows of results to figures: who found the culprit, how high, how surely, with bootstrap intervals.

Ties count against a method: an entity's rank is how many score at least as high (published scorers that collapse ties
flatter, see forensics-methods §1.2). Where several causes were needed together, AC@k is the share of them within the first k,
of at most k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from incidents.benchmark.outcome import OURS
from incidents.benchmark.sweep import Row

RESAMPLES = 1_000
SURE = 0.8
"""Probability from which an answer is sure of itself."""
Figures = dict[str, tuple[float, float, float]]
"""Name -> (mean or median, low, high): 95 % percentile bootstrap over cases."""


def outages_of(rows: Sequence[Row]) -> list[Row]:
    """Those that were an outage with a culprit."""
    return [row for row in rows if row["state"] == "outage" and row["truth"]["entities"]]


def strict_rank(ranking: Iterable[Sequence[Any]], entity: str) -> float:
    """Place of ``entity`` from 1, ties counted against it; infinite when it is not named."""
    pairs = [(str(name), float(score)) for name, score in ranking]
    own = [score for name, score in pairs if name == entity]
    return float(sum(score >= own[0] for _, score in pairs)) if own else math.inf


def accuracy_at(ranking: Sequence[Sequence[Any]], causes: Sequence[str], k: int) -> float:
    """AC@k of one case."""
    wanted = set(causes)
    return sum(strict_rank(ranking, cause) <= k for cause in wanted) / min(k, len(wanted))


def ranking_scores(ranking: Sequence[Sequence[Any]], causes: Sequence[str], candidates: int) -> dict[str, float]:
    """All scores of one ranking. ``lift``: AC@1 in times of chance among so many candidates."""
    at = [accuracy_at(ranking, causes, k) for k in range(1, 6)]
    best = min(strict_rank(ranking, cause) for cause in causes)
    chance = len(set(causes)) / max(candidates, len(set(causes)))
    return {"top1": at[0], "top3": at[2], "avg5": sum(at) / 5, "mrr": 1 / best, "lift": at[0] / min(1.0, chance)}


def method_figures(rows: Sequence[Row], method: str) -> Figures:
    """The scores of one method over the outages among ``rows``."""
    outages = outages_of(rows)
    scored = [
        ranking_scores(row["methods"][method]["ranking"], row["truth"]["entities"], len(row["entities"])) for row in outages
    ]
    figures = {name: interval([one[name] for one in scored]) for name in ("top1", "top3", "avg5", "mrr", "lift")}
    return {**figures, "cpu_s_per_case": interval([row["methods"][method]["cpu_s"] for row in rows])}


def answer_figures(rows: Sequence[Row]) -> Figures:
    """What only an answer with reasons can be scored on: mechanism, roles, onset (the median error), phases, probabilities,
    silence."""
    outages = outages_of(rows)
    healthy = [row for row in rows if row["state"] == "healthy"]
    per_outage: Mapping[str, Callable[[Row], float]] = {
        "mechanism": mechanism_score, "sustainers": _sustainers, "path_f1": path_f1,
        "onset_error_s": onset_error_s, "phase_overlap": phase_overlap,
        "brier": lambda row: (sureness(row) - right(row)) ** 2, "abstained": lambda row: float(row["answer"]["abstained"]),
        "wrong_but_sure": lambda row: float(
            not row["answer"]["abstained"] and sureness(row) >= SURE and not right(row)
        ),
    }  # fmt: skip
    figures = {
        name: interval([score(row) for row in outages], np.median if name.endswith("_s") else np.mean)
        for name, score in per_outage.items()
    }
    return {
        **figures,
        "ece": (calibration_error(outages), math.nan, math.nan),
        "false_incidents": interval([float(bool(row["answer"]["bad_s"])) for row in healthy]),
    }


def mechanism_score(row: Row) -> float:
    """1 when the first trigger's mechanism is right, 1/size when a class of equivalents contains it."""
    if not row["answer"]["triggers"]:
        return 0.0
    first = row["answer"]["triggers"][0]
    names = {first["mechanism"], *first["equivalent_to"]}
    return 1 / len(names) if names & set(row["truth"]["mechanisms"]) else 0.0


def path_f1(row: Row) -> float:
    """F1 of the way of the outage: each mechanism with its role, from the first trigger over amplifiers to loops."""
    told, answer = row["truth"], row["answer"]
    first = [("trigger", one["mechanism"]) for one in answer["triggers"][:1]]
    truth = {("trigger", name) for name in told["mechanisms"]}
    said = set(first)
    for role in ("amplifiers", "sustainers"):
        truth |= {(role, name) for name in told[role]}
        said |= {(role, name) for name in answer[role]}
    return 2 * len(truth & said) / (len(truth) + len(said)) if truth or said else math.nan


def onset_error_s(row: Row) -> float:
    """Seconds from the true onset to the middle of the interval given for it; NaN where the entity is not named."""
    told = zip(row["truth"]["entities"], row["truth"]["also"], row["truth"]["onset_s"], strict=True)
    truth = {name: onset for entity, also, onset in told for name in (entity, *also)}
    errors = [
        abs(sum(one["onset_s"]) / 2 - min(max(sum(one["onset_s"]) / 2, truth[one["entity"]][0]), truth[one["entity"]][1]))
        for one in row["answer"]["triggers"] if one["entity"] in truth
    ]  # fmt: skip
    return errors[0] if errors else math.nan


def phase_overlap(row: Row) -> float:
    """Seconds that are bad in truth and in the answer, over those that are in either."""
    told = {int(at_s) for start in row["truth"]["ill_s"] for at_s in range(int(start), int(start) + 30)}
    said = {at_s for low, high in row["answer"]["bad_s"] for at_s in range(int(low), int(high))}
    return len(told & said) / len(told | said) if told | said else 1.0


def calibration_error(rows: Sequence[Row]) -> float:
    """Expected calibration error of the first trigger's probability, in ten bins."""
    if not rows:
        return math.nan
    said, was = np.array([sureness(row) for row in rows]), np.array([right(row) for row in rows])
    bins = np.minimum((said * 10).astype(int), 9)
    return float(sum(abs(said[bins == b].mean() - was[bins == b].mean()) * (bins == b).mean() for b in set(bins.tolist())))


def interval(
    values: Sequence[float], of: Callable[..., Any] = np.mean, seed: int = 1
) -> tuple[float, float, float]:
    """Mean (or what ``of`` makes of an axis) and the 95 % percentile bootstrap interval of it; NaNs left out, three NaNs for
    nothing."""
    known = np.array([value for value in values if not math.isnan(value)])
    if len(known) == 0:
        return math.nan, math.nan, math.nan
    drawn = of(known[np.random.default_rng(seed).integers(0, len(known), (RESAMPLES, len(known)))], axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5)).tolist()
    return float(of(known)), low, high


def sureness(row: Row) -> float:
    """Probability of the first suspect, in whatever way it failed."""
    ranking = row["methods"][OURS]["ranking"]
    return float(ranking[0][1]) if ranking else 0.0


def right(row: Row) -> float:
    """Whether the first suspect is one of the causes."""
    return float(accuracy_at(row["methods"][OURS]["ranking"], row["truth"]["entities"], 1) > 0)


def _sustainers(row: Row) -> float:
    """F1 of the loops that kept it down; NaN where there were none in truth and none in the answer."""
    told, said = set(row["truth"]["sustainers"]), set(row["answer"]["sustainers"])
    return 2 * len(told & said) / (len(told) + len(said)) if told or said else math.nan
