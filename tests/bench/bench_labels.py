"""Do the labels of the library and of every family survive? ``python tests/bench/bench_labels.py``: five seeds each."""

from __future__ import annotations

import sys

from incidents.families.registry import FAMILIES, checked, drafted
from incidents.library_index import incidents
from incidents.parallel import workers
from incidents.truth import load_truth
from incidents.verify import verify


def main() -> int:
    """Print what does not hold, and how much was tried; 1 when a label does not survive."""
    failed = 0
    shipped = {entry.slug: (entry.scenario, load_truth(entry.folder / "truth.toml", entry.scenario)) for entry in incidents()}
    made = {f"family {name}": checked(drafted(name)) for name in FAMILIES}
    for name, (scenario, truth) in {**shipped, **made}.items():
        found = verify(scenario, truth, range(1, 6), jobs=workers(0))
        print(f"{name}: {sum(one.holds for one in found)} of {len(found)} labels hold for five seeds")
        for one in found:
            if not one.holds:
                failed = 1
                print(f"  {one.label}, {one.claim}: {one.saw}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
