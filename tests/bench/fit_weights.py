"""Fit ``analysis/weights.toml``: ``python tests/bench/fit_weights.py [FOLDER] [ROUNDS]``, some three hours on two cores.

Training families on training fleets are played once and kept in FOLDER; what was read of every hypothesis is gathered, and the
weights are moved by chance, where that makes the truth more probable: of the entity, a third as much of the mechanism, and,
with the true mechanism taken out of the catalogue, a tenth as much of *not in the catalogue*. They are held near what they
were. A fifth of the families is also left out in turn, which tells what the fit is worth elsewhere, and how well the
probabilities of the first suspect are calibrated there: what ``analysis/calibration.toml`` says. Nothing held out is looked at.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.episodes import changes_in, main_stretch
from analysis.impact import choose_bins, find_impact, load_users
from analysis.investigate import store_window
from analysis.posterior import Evidenced, Weights, gather, shipped_weights, weigh
from analysis.scene import look
from collectors.store import Store
from incidents.benchmark.blemishes import BLEMISHES
from incidents.benchmark.calibration import error_interval, reliability
from incidents.benchmark.cases import Case, grid
from incidents.benchmark.outcome import culprits, judged
from incidents.families.registry import FAMILIES
from incidents.parallel import run_all, workers

NEAR = 0.02
PARTS = 5
FITTED = (1, (0.6, 1.0, 1.6))
"""Cases that weights are fitted on: seeds up to this one, and these severities. The others only judge them."""
NAMES = [field.name for field in dataclasses.fields(Weights)]
NEGATIVE = {"signature_absent", "essential_absent", "symptom_absent", "contradiction", "preceded", "after_users", "unreachable"}


@dataclass(frozen=True)
class Gathered:
    """One outage: its truth, what was read of every hypothesis, when users felt it, and whether weights may be fitted on it."""

    family: str
    fits: bool
    entities: frozenset[str]
    mechanisms: frozenset[str]
    cases: list[Evidenced]
    felt_ns: int


def training_cases() -> list[Case]:
    """Training families on training fleets, milder and worse ones too."""
    families = [one.name for one in FAMILIES.values() if not one.held_out]
    return grid(families, ("four", "three"), (0.6, 0.8, 1.0, 1.3, 1.6), 3)


def play(case: Case, folder: Path) -> None:
    """Fill a store for the case, and write down what users say."""
    place = folder / case.name.replace("/", "_")
    if (place / "told.json").exists():
        return
    played = judged(case, BLEMISHES[case.blemish], place)
    (place / "told.json").write_text(json.dumps({"state": played.state, "truth": played.told, "store": str(played.store)}))


def read(case: Case, folder: Path) -> Gathered | None:
    """What was read of the case; None for what was no outage, or has no healthy time."""
    told: dict[str, Any] = json.loads((folder / case.name.replace("/", "_") / "told.json").read_text())
    if told["state"] != "outage" or not told["truth"]["entities"]:
        return None
    with Store.open(told["store"]) as tables:
        start, end = store_window(tables, None)
        users = load_users(tables, start, end)
        bins = choose_bins(users, start, end)
        finding, changes = find_impact(users, bins), changes_in(tables, bins)
        scene = look(tables, bins, finding, main_stretch(finding, bins, changes), changes) if finding.stretches else None
        if scene is None:
            return None
        truth = told["truth"]
        fits = case.seed <= FITTED[0] and case.severity in FITTED[1]
        return Gathered(case.family, fits, culprits(truth), frozenset(truth["mechanisms"]), gather(scene),
                        bins.at(scene.first + 1))  # fmt: skip


def loss(weights: Weights, rows: list[Gathered]) -> float:
    """Mean surprise at the truth, in nats."""
    total = 0.0
    for row in rows:
        ranked = weigh(row.cases, row.felt_ns, weights)
        entity = sum(p for h, p in ranked if h.entity in row.entities)
        mechanism = sum(p for h, p in ranked if h.entity in row.entities and h.mechanism.name in row.mechanisms)
        rest = [one for one in row.cases if one.mechanism.name not in row.mechanisms and one.entity not in row.entities]
        outside = 1.0 - sum(p for _, p in weigh(rest, row.felt_ns, weights))
        total -= math.log(max(entity, 1e-4)) + 0.3 * math.log(max(mechanism, 1e-4)) + 0.1 * math.log(max(outside, 1e-3))
    return total / max(len(rows), 1)


def made(values: np.ndarray[Any, np.dtype[np.float64]]) -> Weights:
    """Weights of a vector, signs and spreads kept possible."""
    named = dict(zip(NAMES, values.tolist(), strict=True))
    named |= {name: min(named[name], 0.0) for name in NEGATIVE}
    named |= {"unsteady": max(named["unsteady"], 0.15), "saturation": max(named["saturation"], 0.3)}
    return Weights(**named)


def fit(rows: list[Gathered], rounds: int, seed: int = 0) -> Weights:
    """The best of so many random steps, each taken only where it helps."""
    luck = np.random.default_rng(seed)
    start = np.array([getattr(shipped_weights(), name) for name in NAMES])
    scale = np.maximum(0.2 * np.abs(start), 0.3)

    def cost(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        return loss(made(values), rows) + NEAR * float((((values - start) / scale) ** 2).sum())

    best, least = start, cost(start)
    for i in range(rounds):
        places = luck.choice(len(NAMES), luck.integers(1, 4), replace=False)
        tried = best.copy()
        tried[places] += luck.normal(size=len(places)) * scale[places] * (0.6 if i < rounds / 2 else 0.25)
        if (now := cost(tried)) < least:
            best, least = tried, now
    return made(best)


def suspected(weights: Weights, row: Gathered) -> tuple[float, bool, bool]:
    """Probability of the first suspect, whether it is right, and whether the first mechanism is."""
    ranked = weigh(row.cases, row.felt_ns, weights)
    first = ranked[0][0]
    sure = sum(p for h, p in ranked if h.entity == first.entity)
    return sure, first.entity in row.entities, first.mechanism.name in row.mechanisms


def left_out(rows: list[Gathered], rounds: int) -> list[tuple[float, bool, bool]]:
    """``suspected`` of every row by weights fitted on other families."""
    families = sorted({row.family for row in rows})
    found = []
    for part in range(PARTS):
        without = set(families[part::PARTS])
        weights = fit([row for row in rows if row.fits and row.family not in without], rounds)
        own = {family: [suspected(weights, row) for row in rows if row.family == family] for family in sorted(without)}
        for family, said in own.items():
            right = [sum(one[i] for one in said) for i in (1, 2)]
            print(f"{family} left out: entity {right[0]:g}, mechanism {right[1]:g} of {len(said)}", flush=True)
            found += said
    return found


def main(folder: Path, rounds: int) -> None:
    """Play, gather, fit, print."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = {case.name: case for case in training_cases()}
    todo = {name: (case, folder) for name, case in cases.items()}
    run_all(play, todo, workers(0), lambda name, _: print(name, file=sys.stderr))
    rows: list[Gathered] = []
    run_all(read, todo, workers(0), lambda _, row: rows.append(row) if row is not None else None)
    rows.sort(key=lambda row: (row.family, row.felt_ns, sorted(row.entities)))
    fitting = [row for row in rows if row.fits]
    print(f"{len(rows)} outages of {len({row.family for row in rows})} families, {len(fitting)} to fit on; "
          f"loss as shipped {loss(shipped_weights(), fitting):.3f}", flush=True)  # fmt: skip
    said = left_out(rows, rounds)
    entity, mechanism = (sum(one[i] for one in said) / len(said) for i in (1, 2))
    print(f"left out in turn: entity {entity:.3f}, mechanism {mechanism:.3f}")
    shape = [one[:2] for one in said]
    print(f"calibration error {error_interval(shape)}; reliability {reliability(shape)}", flush=True)
    fitted = fit(fitting, rounds)
    print(f"fitted to all: loss {loss(fitted, fitting):.3f}")
    for name in NAMES:
        print(f"{name} = {getattr(fitted, name):.2g}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "training-cases"), int(sys.argv[2]) if len(sys.argv) > 2 else 200)
