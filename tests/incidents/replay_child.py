"""Replays a small scenario into a store and reports every durable frame on stdout, until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

from incidents.replay import replay
from instrumented_engine.loading import load_scenario


def main() -> None:
    scenario, out = Path(sys.argv[1]), Path(sys.argv[2])

    def report(seq: int) -> None:
        sys.stdout.write(f"{seq}\n")
        sys.stdout.flush()

    replay(load_scenario(scenario), out, "recorded", on_synced=report)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
