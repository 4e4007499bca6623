"""Simulated cases by family and seed, each run once however many tests ask for it."""

from __future__ import annotations

from simulated_families import Case, make_case
from simulated_fleet import Fleet
from simulated_tables import MemoryTables, tables_of

from analysis.episodes import changes_in, main_stretch
from analysis.impact import choose_bins, find_impact, load_users
from analysis.investigate import investigate
from analysis.investigation import Investigation
from analysis.scene import Scene, look


class Runs:
    """What happened, its tables (new ones every time), and what the analysis says of them."""

    def __init__(self) -> None:
        self._fleets: dict[tuple[str, int], tuple[Case, Fleet]] = {}
        self._answers: dict[tuple[str, int], Investigation] = {}
        self._scenes: dict[tuple[str, int], Scene] = {}

    def fleet(self, family: str, seed: int) -> tuple[Case, Fleet]:
        if (family, seed) not in self._fleets:
            case = make_case(family, seed)
            self._fleets[family, seed] = (case, Fleet(case.plan).run())
        return self._fleets[family, seed]

    def tables(self, family: str, seed: int) -> MemoryTables:
        case, fleet = self.fleet(family, seed)
        return tables_of(fleet, case.events)

    def answer(self, family: str, seed: int) -> Investigation:
        if (family, seed) not in self._answers:
            self._answers[family, seed] = investigate(self.tables(family, seed))
        return self._answers[family, seed]

    def scene(self, family: str, seed: int) -> Scene:
        if (family, seed) not in self._scenes:
            self._scenes[family, seed] = scene_of(self.tables(family, seed))
        return self._scenes[family, seed]


def scene_of(tables: MemoryTables) -> Scene:
    """What the analysis looks at in tables that hold an incident."""
    row = tables.query("SELECT min(arrival_ns) AS low, max(end_ns) AS high FROM requests").to_pylist()[0]
    users = load_users(tables, row["low"], row["high"])
    bins = choose_bins(users, row["low"], row["high"])
    finding, changes = find_impact(users, bins), changes_in(tables, bins)
    scene = look(tables, bins, finding, main_stretch(finding, bins, changes), changes)
    assert scene is not None
    return scene
