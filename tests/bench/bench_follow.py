"""How soon `investigate --follow` names the culprit: ``python tests/bench/bench_follow.py``, some five minutes.

Training families on one training fleet. The telemetry is cut off so many seconds after the first bad request began, as somebody
sees it who looks at that moment; printed is from when on the first suspect is right, and from when on it is claimed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from analysis.investigate import investigate, store_window
from collectors.store import Store
from incidents.benchmark.blemishes import BLEMISHES
from incidents.benchmark.cases import Case, grid
from incidents.benchmark.outcome import culprits, judged
from incidents.families.registry import FAMILIES

LOOKS_S = (30, 60, 90, 120, 180, 240, 360)


def first_right(case: Case) -> tuple[int | None, int | None] | None:
    """Seconds until the first suspect is right, and until it is claimed; None for what was no outage."""
    with tempfile.TemporaryDirectory() as folder:
        played = judged(case, BLEMISHES[""], Path(folder))
        if played.state != "outage" or not played.told["entities"]:
            return None
        with Store.open(played.store) as tables:
            start, end = store_window(tables, None)
            begun = investigate(tables).impact.start
            if begun is None:
                return None, None
            right = claimed = None
            for seconds in LOOKS_S:
                found = investigate(tables, (start, min(begun + seconds * 1_000_000_000, end)))
                hit = bool(found.triggers) and found.triggers[0].entity in culprits(played.told)
                right = right if right is not None or not hit else seconds
                claimed = claimed if claimed is not None or not hit or found.abstained else seconds
            return right, claimed


def main() -> None:
    """Play, look, print."""
    print("family                       right after  claimed after")
    for case in grid([one.name for one in FAMILIES.values() if not one.held_out], ("four",)):
        found = first_right(case)
        if found is not None:
            right, claimed = ("never" if one is None else f"{one} s" for one in found)
            print(f"{case.family:28} {right:>11} {claimed:>14}", flush=True)


if __name__ == "__main__":
    main()
