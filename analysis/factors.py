"""Which factor of demand rose, as odds against "none did": users, calls per user, prompt length, answer length, or several.

    demand = users x calls per user x (prompt tokens + output tokens)

Each factor's growth over the suspected time, in logs, is normal around its true value with the signal's own noise. A release
or a crowd raises one factor by a third or so and leaves the others alone; a big release raises several by a tenth. The odds
are Bayes factors of these models, less what searching for the time gives to chance. So three weak signs of one thing are not
counted as three things, and "too many users" is said only if users rose.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.noise import learn
from analysis.onsets import Deviation
from analysis.scene import Scene

FACTORS: Mapping[str, str] = {
    "users": "demand.users", "calls": "demand.calls", "prompt": "demand.prompt", "output": "demand.output",
}  # fmt: skip
"""Factor -> its signal."""
SEVERAL = "several"
ONE = ((0.35, 0.3), (1.2, 1.0))
"""Log growth of the factor that rose alone, and its spread: as a rule, and in a crowd or a flood, which is as likely."""
EACH, EACH_SPREAD = 0.1, 0.1
"""Log growth of each factor that rose with others."""
SEARCHED = 1.0
"""Log odds that searching gives to chance."""
LARGEST_ODDS = 6.0
MATTERS = 0.1
"""Growth of the whole fleet's demand from which a cohort's is enough to tip a busy fleet; less counts against it."""
UNSUSPECTED_S = 120.0
"""Time before the users' trouble that is judged where no begin is suspected."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A factor's log growth and its standard deviation."""

    mean: float
    spread: float


def suspected(scene: Scene, cohort: str) -> Deviation | None:
    """The surest rise of anything that the cohort asks for, before the users' trouble can have caused it."""
    found = [
        deviation
        for signal in ("demand.tokens", "demand.fresh", *FACTORS.values())
        if (deviation := scene.deviation(signal, cohort, "up")) is not None
    ]  # fmt: skip
    return max(found, key=lambda one: one.sure, default=None)


def growths(scene: Scene, cohort: str, first: int, last: int) -> dict[str, Growth]:
    """The factors that are measured, over the bins ``first <= i < last``."""
    result = {}
    for factor, signal in FACTORS.items():
        series = scene.board.get(signal, {}).get(cohort)
        if series is None and factor == "users":  # where nobody knows users, requests stand for them
            series = scene.board.get("demand.fresh", {}).get(cohort)
        noise = None if series is None else learn(series, scene.healthy.first, scene.healthy.last, scene.healthy.wait_s)
        if series is None:
            continue
        num, den = float(series.num[first:last].sum()), float(series.den[first:last].sum())
        if den <= 0 or num <= 0:
            continue
        if noise is None or noise.baseline <= 0:  # nobody was there before: as if half a thing had come in healthy time
            before = float(series.den[scene.healthy.first : scene.healthy.last].sum())
            if before > 0 and series.signal.per_time:
                result[factor] = Growth(math.log(num / den / (0.5 / before)), 1.0)
            continue
        sure = abs(float(noise.deviations(np.array([num]), np.array([den]), last - first)[0]))
        change = abs(num / den / noise.baseline - 1.0)
        spread = change / sure if sure > 1e-3 else noise.spread / noise.baseline / math.sqrt(den)
        result[factor] = Growth(math.log(num / den / noise.baseline), max(spread, 0.01))
    return result


def odds(scene: Scene, cohort: str) -> dict[str, float]:
    """Log odds of each factor alone, and of ``several``, against none; empty when none is measured. Where nothing is suspected
    the time before the users' trouble is judged: noise can hide what is enough to tip a busy fleet."""
    found = suspected(scene, cohort)
    first, last = (found.first, found.last) if found is not None else _before(scene)
    grown = growths(scene, cohort, first, last)
    searched = SEARCHED if found is not None else 0.0
    nothing = sum(_unchanged(one) for one in grown.values())
    result = {}
    for factor, one in grown.items():
        if one.mean <= 0.0:
            continue
        others = sum(_unchanged(other) for name, other in grown.items() if name != factor)
        alone = [_density(one.mean, mean, math.hypot(one.spread, spread)) for mean, spread in ONE]
        result[factor] = float(np.logaddexp(alone[0], alone[1])) - math.log(2.0) + others
    if len(grown) > 1:
        result[SEVERAL] = sum(_density(one.mean, EACH, math.hypot(one.spread, EACH_SPREAD)) for one in grown.values())
    too_little = _too_little(scene, cohort, first, last)
    beyond = max(0.0, max(result.values(), default=0.0) - nothing - searched - LARGEST_ODDS)
    return {
        name: value - nothing - searched - beyond + (too_little if name != "output" else 0.0) for name, value in result.items()
    }


def _too_little(scene: Scene, cohort: str, first: int, last: int) -> float:
    """Log odds against a cohort whose growth is small beside what the whole fleet is asked for, or made up for by others who
    ask for less."""
    of = scene.board.get("demand.tokens") or scene.board.get("demand.fresh", {})
    if cohort not in of:
        return 0.0

    def more(names: Iterable[str]) -> float:
        before = sum(of[name].mean(scene.healthy.first, scene.healthy.last) for name in names)
        return sum(of[name].mean(first, last) for name in names) - before

    whole = sum(series.mean(scene.healthy.first, scene.healthy.last) for series in of.values())
    share = min(more([cohort]), more(list(of))) / max(whole, 1e-9)
    return min(0.0, math.log(max(share, MATTERS / 100) / MATTERS))


def _before(scene: Scene) -> tuple[int, int]:
    last = scene.horizon
    return max(scene.lead_up[0], last - scene.bins.wide(UNSUSPECTED_S)), last


def _unchanged(one: Growth) -> float:
    """Of a factor that did not grow: normal; a fall, which explains nothing, may as well be one time in five in which its noise
    is three times as large."""
    if one.mean >= 0.0:
        return _density(one.mean, 0.0, one.spread)
    usual, odd = (_density(one.mean, 0.0, one.spread * wide) for wide in (1.0, 3.0))
    return float(np.logaddexp(math.log(0.8) + usual, math.log(0.2) + odd))


def _density(x: float, mean: float, spread: float) -> float:
    return -0.5 * ((x - mean) / spread) ** 2 - math.log(spread)
