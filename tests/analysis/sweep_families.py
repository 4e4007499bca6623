"""How often the answer is right: ``python tests/analysis/sweep_families.py [SEEDS]``, a few CPU seconds a case.

All families on test seeds, 10 of them unless told. Right: the first trigger is the fault's entity and mechanism and the
answer does not abstain. Intervals are Wilson's, 95 %. Retries are judged against twins of the simulation.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from simulated_families import FAMILIES, TEST_SEEDS, Answer, Truth, judge, make_case
from simulated_fleet import Fleet
from simulated_tables import START_NS, tables_of

from analysis.investigate import investigate
from analysis.investigation import Investigation

NAMED = (("right", 7), ("abstained", 11), ("wrong", 7))
"""Verdicts and the widths of their columns."""


@dataclass
class Score:
    """What became of a family's cases."""

    felt: Counter[str] = field(default_factory=Counter)
    unfelt: Counter[str] = field(default_factory=Counter)
    kept: Counter[tuple[bool, str]] = field(default_factory=Counter)
    onsets: list[float] = field(default_factory=list)


def wilson(hits: int, tries: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson 1927)."""
    if tries == 0:
        return 0.0, 1.0
    z, p = 1.96, hits / tries
    middle, half = p + z * z / (2 * tries), z * math.sqrt(p * (1 - p) / tries + (z / (2 * tries)) ** 2)
    return (middle - half) / (1 + z * z / tries), (middle + half) / (1 + z * z / tries)


def verdict(found: Investigation, answers: tuple[Answer, ...]) -> str:
    if not found.impact.phases:
        return "silent"
    if found.abstained:
        return "abstained"
    best = found.triggers[0]
    return "right" if any(best.mechanism == m and best.entity.startswith(e) for e, m in answers) else "wrong"


def loop_of(found: Investigation) -> str:
    return "sustainer" if found.sustainers else "amplifier" if found.amplifiers else "none"


def run(family: str, seed: int, score: Score) -> str:
    """Play one case, count it, and say how it went."""
    case = make_case(family, seed)
    fleet = Fleet(case.plan).run()
    truth: Truth = judge(case, fleet)
    found = investigate(tables_of(fleet, case.events))
    said = verdict(found, case.answers)
    (score.felt if truth.impact == "incident" else score.unfelt)[said] += 1
    if truth.kept_down is not None:
        score.kept[truth.kept_down, loop_of(found)] += 1
    if said == "right":
        score.onsets.append((found.triggers[0].onset.high - START_NS) / 1e9 - case.since)
    best = f"{found.triggers[0].entity} {found.triggers[0].mechanism}" if found.triggers else "nothing"
    return f"{family} {seed}: {truth.impact}, {said} ({best}), retries {loop_of(found)}, kept down {truth.kept_down}"


def main(seeds: int) -> None:
    """Run and print: a line a case to stderr, the table to stdout."""
    scores = {family: Score() for family in FAMILIES}
    for family, score in scores.items():
        for seed in range(TEST_SEEDS, TEST_SEEDS + seeds):
            print(run(family, seed, score), file=sys.stderr)
    print("                    felt by users                                           not felt")
    print("family        cases  right  abstained  wrong  silent  rate (95 %)         silent  right  abstained  wrong")
    for family, score in {**scores, "all faults": together([s for name, s in scores.items() if name != "none"])}.items():
        tries = sum(score.felt.values())
        low, high = wilson(score.felt["right"], tries)
        rate = f"{score.felt['right'] / tries:.2f} ({low:.2f}-{high:.2f})" if tries else "-"
        felt, unfelt = (
            "".join(f"{counts[name]:{width}d}" for name, width in columns)
            for counts, columns in ((score.felt, (*NAMED, ("silent", 8))), (score.unfelt, (("silent", 6), *NAMED)))
        )
        print(f"{family:13} {tries:5d}{felt}  {rate:18}{unfelt}")
    print_loops(together(list(scores.values())))


def together(scores: list[Score]) -> Score:
    total = Score()
    for score in scores:
        total.felt += score.felt
        total.unfelt += score.unfelt
        total.kept += score.kept
        total.onsets += score.onsets
    return total


def print_loops(score: Score) -> None:
    kept, other = (sum(n for (truth, _), n in score.kept.items() if truth is held) for held in (True, False))
    found, false = score.kept[True, "sustainer"], other - score.kept[False, "sustainer"]
    for what, hits, tries in (("retries kept the fleet down: said so", found, kept), ("they did not: said so", false, other)):
        low, high = wilson(hits, tries)
        print(f"{what} in {hits} of {tries} ({low:.2f}-{high:.2f})")
    late = sorted(score.onsets)
    if late:
        print(f"end of the onset interval after the fault: median {late[len(late) // 2]:.0f} s, all within "
              f"{late[0]:.0f} to {late[-1]:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
