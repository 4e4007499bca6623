"""When users really suffered: the objective, goodput, and the phases of the incident.

Nobody says when to look. A request is *good* when any of its attempts was answered and the wait from the user's first
try to the first token stayed within a limit, which is set generously from requests begun while nearly everything was
answered. The share of bad requests is judged over a short and a long window at once (multi-window burn, Google SRE
Workbook ch. 5), and must be beyond what chance makes of the healthy share. Entering and leaving have different
thresholds, so that noise does not make phases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis import queries
from analysis.board import Bins, Floats
from analysis.investigation import Goodput, Impact, Instant, Phase, PhaseState
from analysis.queries import Tables

Stretch = tuple[int, int]
"""Bins ``first <= i < last`` of bad service."""

OUTAGE_SHARE = 0.5
"""Share of bad requests from which a stretch is an outage."""
DEGRADED_SHARE = 0.1
"""Share of bad requests from which a stretch is bad at all."""
LEAVE_SHARE = 0.04
"""It ends when the share falls below this (or one and a half times the healthy share, where that is more)."""
LIMIT_FACTOR = 3.0
"""Limit of the wait, as a multiple of its healthy 95th percentile."""
LEAST_LIMIT_S = 5.0
"""And at least so long: on a quiet fleet three times as long is still soon."""
SHORT_S, LONG_S = 15.0, 60.0
"""The two windows of the slow burn, from ``DEGRADED_SHARE`` on."""
HEAVY_SHARE, HEAVY_S = 0.3, 30.0
"""The fast burn: so large a share in both the short window and this one."""
BLIP_S = 90.0
"""A stretch that is over sooner is a blip that few noticed, unless half of the requests failed for ``SHORT_S``, or were bad,
which may be slow, for ``HEAVY_S``."""
RECOVERED_S = 120.0
"""Healthy for this long between two bad stretches: the second is a relapse. Shorter: the same stretch."""
CHANCE = 1e-4
"""Probability below which a count of bad requests is no chance."""

_S = 1_000_000_000
_WIDTHS_S = (5, 10, 15, 30, 60)
_REQUESTS_A_BIN = 20


@dataclass(frozen=True, slots=True)
class Users:
    """Requests of users: times in ns, per request [n]. ``failed_s``: from begin to the end of the first attempt. ``decided``:
    answered, or no further attempt can come before the telemetry ends."""

    begun: NDArray[np.int64]
    answered: NDArray[np.bool_]
    wait_s: Floats
    failed_s: Floats
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
    failed_s = (frame["first_end_ns"] - frame["begun_ns"]).cast(pl.Float64).fill_null(math.nan).to_numpy() / 1e9
    return Users(frame["begun_ns"].to_numpy(), answered, wait, failed_s, answered | ~may_go_on)


def choose_bins(users: Users, start_ns: int, end_ns: int) -> Bins:
    """Bins that hold about 20 requests each, between 5 s and 1 minute wide."""
    seconds = max((end_ns - start_ns) / _S, 1.0)
    wanted = _REQUESTS_A_BIN / max(len(users.begun) / seconds, 1e-9)
    width = next((w for w in _WIDTHS_S if w >= wanted), _WIDTHS_S[-1])
    return Bins(start_ns, end_ns, width * _S)


@dataclass(frozen=True, slots=True)
class Finding:
    """The impact, and what else the analysis needs of it: per-bin counts [bins] and the bad stretches."""

    impact: Impact
    requests: Floats
    good: Floats
    stretches: tuple[Stretch, ...]
    felt_s: tuple[float, ...] = ()

    def patience(self, stretch: Stretch) -> float:
        """Seconds from the begin of the first bad requests of a stretch until the quickest quarter of them were known to be
        bad: what set them off may have come so late."""
        return dict(zip(self.stretches, self.felt_s, strict=False)).get(stretch, 0.0)

    def outage_begin(self, stretch: Stretch) -> int:
        """The first bin of a stretch in which it was an outage; its first bin when it never was."""
        return min(self._outages_in(stretch), default=stretch[0])

    def is_outage(self, stretch: Stretch) -> bool:
        """Whether any part of it was an outage."""
        return bool(self._outages_in(stretch))

    def _outages_in(self, stretch: Stretch) -> list[int]:
        """The bins of a stretch in which outages begin."""
        at = {goodput.start: i for i, goodput in enumerate(self.impact.goodput)}
        heavy = [at[phase.start] for phase in self.impact.phases if phase.state in ("outage", "relapse") and phase.start in at]
        return [i for i in heavy if stretch[0] <= i < stretch[1]]

    def lost(self, stretch: Stretch) -> float:
        """Bad requests of a stretch."""
        return float((self.requests - self.good)[stretch[0] : stretch[1]].sum())


def find_impact(users: Users, bins: Bins) -> Finding:
    """Judge the users' requests over ``bins``. A request without an answer is bad once the limit of the wait has passed,
    whatever becomes of it later; one whose fate is open when the telemetry ends is not counted."""
    at = np.clip((users.begun - bins.start_ns) // bins.width_ns, 0, bins.count - 1)
    limit_s = _limit(users, at, bins.count)
    judged = users.decided | ((bins.end_ns - users.begun) / _S > limit_s)
    requests = np.bincount(at[judged], minlength=bins.count).astype(float)
    good = np.bincount(at[users.answered & ~(users.wait_s > limit_s)], minlength=bins.count).astype(float)
    failed = np.bincount(at[judged & ~users.answered], minlength=bins.count).astype(float)
    found = judge(requests, good, bins, _slo(limit_s), failed)
    ill = judged & ~(users.answered & ~(users.wait_s > limit_s))
    soon = max(1, round(SHORT_S / bins.width_ns * _S))
    return replace(found, felt_s=tuple(_felt(users, at, ill, limit_s, first, first + soon) for first, _ in found.stretches))


def judge(requests: Floats, good: Floats, bins: Bins, slo: str, failed: Floats | None = None) -> Finding:
    """The impact by counts per bin [count], however they were got. ``failed``: the bad ones without an answer; None: all."""
    stretches = find_stretches(requests, requests - good, bins.width_ns / _S, failed)
    goodput = tuple(Goodput(Instant(bins.at(i)), round(requests[i]), round(good[i])) for i in range(bins.count))
    if not stretches:
        return Finding(Impact(slo, None, None, 0.0, (), goodput), requests, good, ())
    first, last = stretches[0][0], stretches[-1][1]
    bad, seen = float((requests - good)[first:last].sum()), float(requests[first:last].sum())
    impact = Impact(
        slo, Instant(bins.at(first)), Instant(bins.at(last)), bad / max(seen, 1.0),
        _phases(stretches, requests, requests - good, bins), goodput,
    )  # fmt: skip
    return Finding(impact, requests, good, tuple(stretches))


def _felt(users: Users, at: NDArray[np.int64], bad: NDArray[np.bool_], limit_s: float, first: int, last: int) -> float:
    chosen = bad & (at >= first) & (at <= last)
    known = np.where(users.answered, limit_s, np.fmin(users.failed_s, limit_s))[chosen]
    known = known[np.isfinite(known)]
    return float(np.quantile(known, 0.25)) if len(known) else 0.0


def _slo(limit_s: float) -> str:
    limit = f", the first token within {limit_s:.3g} s of the first try" if math.isfinite(limit_s) else ""
    return f"a request is good when any attempt is answered{limit}; bad from {DEGRADED_SHARE:.0%} bad requests on"


def _limit(users: Users, at: NDArray[np.int64], count: int) -> float:
    """The longest acceptable wait: a multiple of the 95th percentile in the calmer half of the bins that answered all."""
    requests = np.bincount(at[users.decided], minlength=count)
    answered = np.bincount(at[users.answered], minlength=count)
    healthy = np.flatnonzero((requests > 0) & (answered >= 0.97 * requests))
    if len(healthy) == 0:
        return math.inf
    middle = np.array([np.median(users.wait_s[(at == i) & users.answered]) for i in healthy])
    calm = healthy[middle <= np.median(middle)]
    usual = float(np.quantile(users.wait_s[np.isin(at, calm) & users.answered], 0.95))
    return max(LIMIT_FACTOR * usual, LEAST_LIMIT_S)


def _ahead(values: Floats, length: int) -> Floats:
    """Sum over the bin and the next ``length - 1``."""
    padded = np.concatenate([values, np.zeros(length - 1)])
    return np.convolve(padded, np.ones(length), "valid")


def find_stretches(requests: Floats, bad: Floats, width_s: float, failed: Floats | None = None) -> list[Stretch]:
    """Bad stretches from counts per bin [bins], each bin ``width_s`` seconds wide."""
    count = len(requests)
    short, long = max(1, round(SHORT_S / width_s)), max(2, round(LONG_S / width_s))
    fast, slow = (_ahead(bad, n) / np.maximum(_ahead(requests, n), 1.0) for n in (short, long))
    healthy = _healthy_share(requests, bad)
    entering = np.zeros(count, bool)
    for least, seconds in ((DEGRADED_SHARE, LONG_S), (HEAVY_SHARE, HEAVY_S)):
        width = max(2, round(seconds / width_s))
        lost, asked = _ahead(bad, width), _ahead(requests, width)
        burning = (fast >= least) & (lost >= least * np.maximum(asked, 1.0))
        entering |= burning & (chance(lost, asked * healthy) < CHANCE)
    leave = max(LEAVE_SHARE, 1.5 * healthy)
    seen = int(np.flatnonzero(requests)[-1]) + 1 if bool(requests.any()) else 0
    fine = (bad < leave * np.maximum(requests, 1.0)) & (requests > 0)
    found: list[Stretch] = []
    i = 0
    while i < count:
        if not entering[i]:
            i += 1
            continue
        first = end = i
        while end < count and (end == i or slow[end] >= leave or fast[end] >= DEGRADED_SHARE):
            end += 1
        i = end
        while first < end - 1 and (fine[first] or requests[first] == 0):
            first += 1
        while end > first + 1 and fine[end - 1]:
            end -= 1
        found.append((first, count if end >= seen else end))
    down = np.zeros(count, bool)
    for counts, width in ((bad if failed is None else failed, short), (bad, max(1, round(HEAVY_S / width_s)))):
        down |= _ahead(counts, width) >= OUTAGE_SHARE * np.maximum(_ahead(requests, width), 1.0)
    return [
        (first, last) for first, last in _joined(found, requests, round(RECOVERED_S / width_s))
        if (last - first) * width_s >= BLIP_S or bool(down[first:last].any())
    ]


def _joined(found: list[Stretch], requests: Floats, gap: int) -> list[Stretch]:
    """Stretches with fewer than ``gap`` bins of service between them are one; bins without requests show none."""
    joined: list[Stretch] = []
    for first, last in found:
        if joined and int((requests[joined[-1][1] : first] > 0).sum()) < gap:
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


def chance(counts: Floats, expected: Floats) -> Floats:
    """Upper bound on P(at least so many) of Poisson variables with the means ``expected`` (Chernoff)."""
    counts, expected = np.maximum(counts, 1e-9), np.maximum(expected, 1e-9)
    bound = np.exp(counts - expected - counts * np.log(counts / expected))
    return np.where(counts > expected, bound, 1.0)


def _phases(stretches: list[Stretch], requests: Floats, bad: Floats, bins: Bins) -> tuple[Phase, ...]:
    """Outage and degraded parts of each stretch, what lies between them, and the end. An outage after an outage that was
    recovered from is a relapse."""
    phases: list[Phase] = []

    def add(state: PhaseState, first: int, last: int) -> None:
        if first < last:
            phases.append(Phase(state, Instant(bins.at(first)), Instant(bins.at(last))))

    window = max(2, round(30.0 / (bins.width_ns / _S)))
    worst: PhaseState = "outage"
    for number, (first, last) in enumerate(stretches):
        if number > 0:
            add("recovered", stretches[number - 1][1], first)
        for heavy, begin, end in _parts(requests[first:last], bad[first:last], window):
            add(worst if heavy else "degraded", first + begin, first + end)
        if any(phase.state == "outage" for phase in phases):
            worst = "relapse"
    add("over", stretches[-1][1], bins.count)
    return tuple(phases)


def _parts(requests: Floats, bad: Floats, window: int) -> list[tuple[bool, int, int]]:
    """Split one stretch where the share of bad requests, smoothed, crosses ``OUTAGE_SHARE``: whether it is above, and from
    where to where. Lighter parts that are shorter than the window join the heavy one before them."""
    ones = np.ones(min(window, len(bad)))
    asked = np.convolve(requests, ones, "same")
    heavy = np.convolve(bad, ones, "same") >= OUTAGE_SHARE * np.maximum(asked, 1.0)
    for i in np.flatnonzero(asked[1:] == 0) + 1:
        heavy[i] = heavy[i - 1]
    edges = [0, *(int(i) + 1 for i in np.flatnonzero(heavy[1:] != heavy[:-1])), len(heavy)]
    parts: list[tuple[bool, int, int]] = []
    for begin, end in pairwise(edges):
        if parts and not heavy[begin] and end - begin < window and end < len(heavy):
            parts[-1] = (True, parts[-1][1], end)
        elif parts and parts[-1][0] == heavy[begin]:
            parts[-1] = (parts[-1][0], parts[-1][1], end)
        else:
            parts.append((bool(heavy[begin]), begin, end))
    return parts
