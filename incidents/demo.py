"""The demo: the first incident from end to end. Replay, collect, seal, investigate."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from analysis.investigate import investigate
from analysis.investigation import ANSWER, Investigation
from collectors.durable import replace_file
from collectors.errors import BadInput
from collectors.seal import seal
from collectors.store import Store
from incidents.library_index import scenario_path
from incidents.replay import Replayed, RunnerName, replay
from instrumented_engine.loading import load_scenario

SLUG = "kv-sync-rebalance"
STORE, SEALED = "store", "incident.duckdb"


@dataclass(frozen=True, slots=True)
class Demo:
    """What a demo left, and its answer."""

    replayed: Replayed
    investigation: Investigation
    sealed: Path
    answer: Path


def demo(out: Path, seed: int, runner: RunnerName, on_progress: Callable[[float], None] = lambda seconds: None) -> Demo:
    """Fill ``out`` with ``store/``, ``incident.duckdb`` and ``investigation.json``. An earlier demo there is replaced;
    a folder that holds anything else is refused (BadInput)."""
    _clear(out)
    scenario = load_scenario(scenario_path(SLUG), [f"seed={seed}"])
    replayed = replay(scenario, out / STORE, runner, on_progress=on_progress)
    sealed, answer = out / SEALED, out / ANSWER
    with Store.open(out / STORE) as store:
        seal(store, sealed)
        investigation = investigate(store)
    replace_file(answer, investigation.document().encode())
    return Demo(replayed, investigation, sealed, answer)


def demo_seconds() -> float:
    """Virtual seconds that a demo plays, for progress."""
    scenario = load_scenario(scenario_path(SLUG))
    return scenario.warm_up_s + scenario.duration_s


def _clear(out: Path) -> None:
    if not out.exists():
        return
    others = sorted(path.name for path in out.iterdir() if path.name not in (STORE, SEALED, ANSWER))
    if not out.is_dir() or others:
        raise BadInput(f"{out}: holds {', '.join(others) or 'a file'}, which no demo made; give another --out")
    shutil.rmtree(out)
