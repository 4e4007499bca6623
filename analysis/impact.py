"""When users really suffered: the objective, goodput, and the phases of the incident.

Nobody says when to look. A request is *good* when any of its attempts was answered and the wait from the user's first
try to the first token stayed within a limit, which is set generously from requests begun while nearly everything was
answered. The share of bad requests is judged over a short and a long window at once (multi-window burn, Google SRE
Workbook ch. 5), and must be beyond what chance makes of the healthy share. Entering and leaving have different
thresholds, so that noise does not make phases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis import queries
from analysis.investigation import Goodput, Impact, Instant, Phase, PhaseState
from analysis.queries import Tables
from analysis.signals import Bins, Floats

OUTAGE_SHARE = 0.5
"""Share of bad requests from which a stretch is an outage."""
DEGRADED_SHARE = 0.1
"""Share of bad requests from which a stretch is bad at all."""
LEAVE_SHARE = 0.04
"""It ends when the share falls below this."""
LIMIT_FACTOR = 3.0
"""Limit of the wait, as a multiple of its healthy 95th percentile."""
SHORT_S, LONG_S = 15.0, 60.0
"""The two windows of the burn."""
RECOVERED_S = 120.0
"""Healthy for this long between two bad stretches: the second is a relapse. Shorter: the same stretch."""
CHANCE = 1e-4
"""Probability below which a count of bad requests is no chance."""

_S = 1_000_000_000
_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60)
_REQUESTS_A_BIN = 20


@dataclass(frozen=True, slots=True)
class Users:
    """Requests of users: times in ns, per request [n]. ``decided``: its fate is known before the telemetry ends."""

    begun: NDArray[np.int64]
    answered: NDArray[np.bool_]
    wait_s: Floats
    decided: NDArray[np.bool_]


def load_users(tables: Tables, start_ns: int, end_ns: int) -> Users:
    """The requests begun in the window. Those begun before it, of which only retries are seen, are left out."""
    frame = tables.frame(queries.sql("user_requests", start_ns=start_ns, end_ns=end_ns))
    frame = frame.filter(pl.col("first_attempt") == 1)
    answered = frame["answered"].to_numpy() == 1
    wait = frame["wait_ns"].cast(pl.Float64).fill_null(math.nan).to_numpy() / 1e9
    most = int(frame["attempts"].max() or 1)  # type: ignore[arg-type]
    retried = frame.filter(pl.col("attempts") > 1)
    lasting = (retried["ended_ns"] - retried["begun_ns"]).quantile(0.95) if retried.height else 0.0
    may_go_on = (frame["attempts"].to_numpy() < most) & (frame["ended_ns"].to_numpy() + (lasting or 0.0) > end_ns)
    return Users(frame["begun_ns"].to_numpy(), answered, wait, answered | ~may_go_on)


def choose_bins(users: Users, start_ns: int, end_ns: int) -> Bins:
    """Bins that hold about 20 requests each, between 1 s and 1 minute wide."""
    seconds = max((end_ns - start_ns) / _S, 1.0)
    wanted = _REQUESTS_A_BIN / max(len(users.begun) / seconds, 1e-9)
    width = next((w for w in _WIDTHS_S if w >= wanted), _WIDTHS_S[-1])
    width = max(width, 5)
    return Bins(start_ns, width * _S, max(1, math.ceil((end_ns - start_ns) / (width * _S))))


@dataclass(frozen=True, slots=True)
class Finding:
    """The impact, and what else the analysis needs of it: per-bin counts [bins], bad stretches as bin ranges."""

    impact: Impact
    requests: Floats
    good: Floats
    stretches: tuple[tuple[int, int], ...]
    limit_s: float


def find_impact(users: Users, bins: Bins) -> Finding:
    """Judge the users' requests over ``bins``."""
    at = np.clip((users.begun - bins.start_ns) // bins.width_ns, 0, bins.count - 1)
    requests = np.bincount(at[users.decided], minlength=bins.count).astype(float)
    answered = np.bincount(at[users.decided & users.answered], minlength=bins.count).astype(float)
    limit_s = _limit(users, at, requests, answered)
    in_time = users.answered & ~(users.wait_s > limit_s)
    good = np.bincount(at[users.decided & in_time], minlength=bins.count).astype(float)
    stretches = _stretches(requests, requests - good, bins.width_ns / _S)
    slo = _slo(limit_s)
    goodput = tuple(
        Goodput(Instant(bins.at(i)), int(requests[i]), int(good[i])) for i in range(bins.count)
    )
    if not stretches:
        return Finding(Impact(slo, None, None, 0.0, (), goodput), requests, good, (), limit_s)
    first, last = stretches[0][0], stretches[-1][1]
    bad, seen = float((requests - good)[first:last].sum()), float(requests[first:last].sum())
    impact = Impact(
        slo, Instant(bins.at(first)), Instant(bins.at(last)), bad / max(seen, 1.0),
        _phases(stretches, requests, requests - good, bins), goodput,
    )  # fmt: skip
    return Finding(impact, requests, good, tuple(stretches), limit_s)


def _slo(limit_s: float) -> str:
    limit = f", the first token within {limit_s:.3g} s of the first try" if math.isfinite(limit_s) else ""
    return f"a request is good when any attempt is answered{limit}; bad from {DEGRADED_SHARE:.0%} bad requests on"


def _limit(users: Users, at: NDArray[np.int64], requests: Floats, answered: Floats) -> float:
    """The longest acceptable wait: a multiple of the 95th percentile in the calmer half of the bins that answered all."""
    share = answered / np.maximum(requests, 1.0)
    healthy = np.flatnonzero((requests > 0) & (share >= 0.97))
    if len(healthy) == 0:
        return math.inf
    middle = np.array([np.nanmedian(users.wait_s[(at == i) & users.answered]) for i in healthy])
    calm = healthy[middle <= np.median(middle)]
    waits = users.wait_s[np.isin(at, calm) & users.answered & ~np.isnan(users.wait_s)]
    return LIMIT_FACTOR * float(np.quantile(waits, 0.95)) if len(waits) else math.inf


def _ahead(values: Floats, length: int) -> Floats:
    """Sum over the bin and the next ``length - 1``."""
    padded = np.concatenate([values, np.zeros(length - 1)])
    return np.convolve(padded, np.ones(length), "valid")


def _stretches(requests: Floats, bad: Floats, width_s: float) -> list[tuple[int, int]]:
    """Bad stretches as bin ranges, short gaps closed."""
    count = len(requests)
    short, long = max(1, round(SHORT_S / width_s)), max(2, round(LONG_S / width_s))
    healthy = _healthy_share(requests, bad)
    fast, slow = (_ahead(bad, n) / np.maximum(_ahead(requests, n), 1.0) for n in (short, long))
    entering = (fast >= DEGRADED_SHARE) & (slow >= DEGRADED_SHARE)
    entering &= np.array([
        _chance(int(b), float(r) * healthy) < CHANCE
        for b, r in zip(_ahead(bad, long), _ahead(requests, long), strict=True)
    ])  # fmt: skip
    found: list[tuple[int, int]] = []
    i = 0
    while i < count:
        if not entering[i] or bad[i] == 0:
            i += 1
            continue
        end = i + 1
        while end < count and (slow[end] >= LEAVE_SHARE or fast[end] >= DEGRADED_SHARE):
            end += 1
        while end > i + 1 and bad[end - 1] < LEAVE_SHARE * max(requests[end - 1], 1.0) and requests[end - 1] > 0:
            end -= 1
        found.append((i, end))
        i = end
    return _joined(found, round(RECOVERED_S / width_s))


def _joined(found: list[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in found:
        if joined and first - joined[-1][1] < gap:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined


def _healthy_share(requests: Floats, bad: Floats) -> float:
    """The usual share of bad requests: the lower quartile over bins, at least half a percent."""
    seen = requests > 0
    if not bool(seen.any()):
        return 0.005
    return max(0.005, min(0.05, float(np.quantile(bad[seen] / requests[seen], 0.25))))


def _chance(count: int, expected: float) -> float:
    """P(at least ``count``) of a Poisson variable with mean ``expected``."""
    if count == 0:
        return 1.0
    term = below = math.exp(-expected)
    for k in range(1, count):
        term *= expected / k
        below += term
    return max(0.0, 1.0 - below)


def _phases(stretches: list[tuple[int, int]], requests: Floats, bad: Floats, bins: Bins) -> tuple[Phase, ...]:
    """Outage and degraded parts of each stretch, what lies between them, and the end."""
    phases: list[Phase] = []

    def add(state: PhaseState, first: int, last: int) -> None:
        if first < last:
            phases.append(Phase(state, Instant(bins.at(first)), Instant(min(bins.at(last), bins.end_ns))))

    window = max(2, round(30.0 / (bins.width_ns / _S)))
    for number, (first, last) in enumerate(stretches):
        worst: PhaseState = "outage" if number == 0 else "relapse"
        for state, begin, end in _parts(requests[first:last], bad[first:last], window, worst):
            add(state, first + begin, first + end)
        if number + 1 < len(stretches):
            add("recovered", last, stretches[number + 1][0])
    add("over", stretches[-1][1], bins.count)
    return tuple(phases)


def _parts(requests: Floats, bad: Floats, window: int, worst: PhaseState) -> list[tuple[PhaseState, int, int]]:
    """Split one stretch where the share of bad requests, smoothed, crosses ``OUTAGE_SHARE``; parts shorter than the
    window join their neighbour."""
    ones = np.ones(window)
    share = np.convolve(bad, ones, "same") / np.maximum(np.convolve(requests, ones, "same"), 1.0)
    heavy = share >= OUTAGE_SHARE
    edges = [0, *(int(i) + 1 for i in np.flatnonzero(heavy[1:] != heavy[:-1])), len(heavy)]
    parts: list[tuple[PhaseState, int, int]] = []
    for begin, end in zip(edges, edges[1:], strict=False):
        state: PhaseState = worst if heavy[begin] else "degraded"
        if parts and (parts[-1][0] == state or (state == "degraded" and end - begin < window and end < len(heavy))):
            parts[-1] = (parts[-1][0], parts[-1][1], end)
        else:
            parts.append((state, begin, end))
    return parts
