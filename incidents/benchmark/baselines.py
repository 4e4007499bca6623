"""Ten published or obvious ways to name a culprit, in small versions of our own, each given what it needs: the metrics, the
call graph, and the time at which users noticed, which our analysis has to find by itself.

Sources: BARO (Pham et al., FSE 2024) for the robust scorer; N-Sigma as in RCAEval (ASE 2024); CIRCA (Li et al., KDD 2022)
with the graph given; traversal and ranked correlation as in PetShop (CLeaR 2024); SimpleRCA (Fang et al., 2510.04711).
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from functools import cache

import numpy as np

from incidents.benchmark.observed import Baseline, Floats, Observed, Ranking
from incidents.families.registry import FAMILIES, drafted

_TINY = 1e-9
SIGMAS = 3.0


def chance(seen: Observed) -> Ranking:
    """Any order."""
    luck = np.random.default_rng(zlib.crc32(seen.values.tobytes()))
    return [(seen.entities[i], -float(place)) for place, i in enumerate(luck.permutation(len(seen.entities)))]


def constant_prior(seen: Observed) -> Ranking:
    """The kinds of entity that the training families blame, most often first, and the first of each kind by name."""
    blamed = _blamed()
    ranked = sorted(seen.entities, key=lambda entity: (-blamed[entity.partition(":")[0]], entity))
    return [(entity, -float(place)) for place, entity in enumerate(ranked)]


@cache
def _blamed() -> Counter[str]:
    """How often the training families blame a kind of entity."""
    drafts = [drafted(one.name) for one in FAMILIES.values() if not one.held_out]
    return Counter(one["entity"].partition(":")[0] for draft in drafts for one in draft.truth.get("triggers", []))


def earliest_onset(seen: Observed) -> Ranking:
    """Who left three standard deviations first, twice in a row, from a minute's worth of rows before the alarm on."""
    z = np.abs(_z(seen, seen.values))
    beyond = (z[:-1] > SIGMAS) & (z[1:] > SIGMAS)
    beyond[: seen.alarm // 2] = False
    first = np.where(beyond.any(axis=0), beyond.argmax(axis=0), len(z))
    return seen.best_of(-first.astype(float))


def loudest(seen: Observed) -> Ranking:
    """Whose mean changed most, in times its old value."""
    before, after = seen.before.mean(axis=0), seen.after.mean(axis=0)
    return seen.best_of(np.abs(after - before) / (np.abs(before) + 1e-3))


def n_sigma(seen: Observed) -> Ranking:
    """The largest deviation in standard deviations."""
    return seen.best_of(np.abs(_z(seen, seen.after)).max(axis=0))


def robust_scorer(seen: Observed) -> Ranking:
    """BARO's scorer: the largest deviation from the median in interquartile ranges."""
    low, middle, high = np.percentile(seen.before, (25, 50, 75), axis=0)
    spread = np.where(high - low > _TINY, high - low, 1.0)
    return seen.best_of((np.abs(seen.after - middle) / spread).max(axis=0))


def circa(seen: Observed) -> Ranking:
    """CIRCA's hypothesis test with the graph given: what a linear model of the neighbours' metrics leaves unexplained."""
    parents = _neighbours(seen)
    scores = np.zeros(len(seen.metrics))
    for i, (entity, _) in enumerate(seen.metrics):
        columns = [j for other in parents.get(entity, ()) for j in seen.columns(other)]
        scores[i] = _unexplained(seen, i, columns)
    return seen.best_of(scores)


def traversal(seen: Observed) -> Ranking:
    """Anomalous entities none of whose callees is anomalous, by how anomalous they are; then the other anomalous ones."""
    z = dict(n_sigma(seen))
    ill = {entity for entity, score in z.items() if score > SIGMAS}
    blameless = {src for src, dst in seen.calls if dst in ill and dst != src}
    return sorted(((e, z[e] / (1 + z[e]) + (1.0 if e not in blameless else 0.0)) for e in ill), key=lambda p: (-p[1], p[0]))


def correlation(seen: Observed) -> Ranking:
    """Who moves with what users see: rank correlation with the users' own metric, among those that are anomalous; with
    itself everything correlates, so that metric counts for nobody."""
    own = seen.columns(seen.target)
    if not own:
        return []
    z = np.abs(_z(seen, seen.after)).max(axis=0)
    ranks = seen.values.argsort(axis=0).argsort(axis=0).astype(float)
    ranks -= ranks.mean(axis=0)
    users = own[int(np.argmax(z[own]))]
    target = ranks[:, users]
    lengths = np.sqrt((ranks**2).sum(axis=0) * (target @ target))
    found = np.abs(ranks.T @ target) / np.maximum(lengths, _TINY)
    return seen.best_of(np.where((z > SIGMAS) & (np.arange(len(z)) != users), found, 0.0))


def simple_rules(seen: Observed) -> Ranking:
    """SimpleRCA: an alert for each metric that is beyond three sigma; most alerts wins."""
    z = np.abs(_z(seen, seen.after)) > SIGMAS
    alerts = z.mean(axis=0) > 0.1
    count: dict[str, float] = {}
    for (entity, _), alert in zip(seen.metrics, alerts.tolist(), strict=True):
        count[entity] = count.get(entity, 0.0) + float(alert)
    return sorted(((e, c) for e, c in count.items() if c > 0), key=lambda pair: (-pair[1], pair[0]))


BASELINES: Mapping[str, Baseline] = {
    "chance": chance, "constant prior": constant_prior, "earliest onset": earliest_onset, "loudest anomaly": loudest,
    "N-Sigma": n_sigma, "BARO robust scorer": robust_scorer, "CIRCA, graph given": circa, "graph traversal": traversal,
    "ranked correlation": correlation, "SimpleRCA": simple_rules,
}  # fmt: skip


def _z(seen: Observed, rows: Floats) -> Floats:
    """Deviations of ``rows`` in standard deviations of the normal rows; a metric that never moved has one of 1."""
    spread = seen.before.std(axis=0)
    result: Floats = (rows - seen.before.mean(axis=0)) / np.where(spread > _TINY, spread, 1.0)
    return result


def _neighbours(seen: Observed) -> dict[str, set[str]]:
    """Whom an entity depends on: those that it calls."""
    found: dict[str, set[str]] = {}
    for src, dst in seen.calls:
        if src != dst:
            found.setdefault(src, set()).add(dst)
    return found


def _unexplained(seen: Observed, column: int, others: list[int]) -> float:
    """Largest residual after the alarm of a ridge regression on ``others``, in standard deviations of those before it."""
    before, after = seen.before, seen.after
    middle, spread = before.mean(axis=0), np.where(before.std(axis=0) > _TINY, before.std(axis=0), 1.0)
    before, after = (before - middle) / spread, (after - middle) / spread
    if others:
        x = before[:, others]
        weights = np.linalg.solve(x.T @ x + 1.0 * np.eye(len(others)), x.T @ before[:, column])
        residual, new = before[:, column] - x @ weights, after[:, column] - after[:, others] @ weights
    else:
        residual, new = before[:, column], after[:, column]
    return float(np.abs(new - residual.mean()).max() / max(float(residual.std()), 0.1))
