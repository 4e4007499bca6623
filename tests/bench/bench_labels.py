"""Do the labels of the library, which holds every family, survive? ``python tests/bench/bench_labels.py``: five seeds each."""

from __future__ import annotations

import sys

from incidents.library_index import incidents
from incidents.parallel import workers
from incidents.truth import load_truth
from incidents.verify import verify


def main() -> int:
    """Print what does not hold, and how much was tried; 1 when a label does not survive."""
    failed = 0
    for entry in incidents():
        truth = load_truth(entry.folder / "truth.toml", entry.scenario)
        found = verify(entry.scenario, truth, range(1, 6), jobs=workers(0))
        print(f"{entry.slug}: {sum(one.holds for one in found)} of {len(found)} labels hold for five seeds")
        for one in found:
            if not one.holds:
                failed = 1
                print(f"  {one.label}, {one.claim}: {one.saw}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
