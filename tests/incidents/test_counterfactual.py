"""Taking away what the analysis names: a store from a replay can be played again, one from outside cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.investigation import (
    Bound,
    Calibration,
    Coverage,
    Impact,
    Instant,
    Investigation,
    Loop,
    Onset,
    Trigger,
    Window,
)
from analysis.mechanisms import catalogue
from collectors.errors import BadInput
from incidents.counterfactual import LOCK, avoided, counterfactual, cures, read_lock, write_lock
from incidents.families.registry import checked, drafted
from incidents.goodput import Window as Seen


def answer(entity: str, mechanism: str, *, loop: bool = True) -> Investigation:
    """One that names a trigger and a retry storm."""
    onset = Onset(Instant(0), Instant(1))
    loops = (Loop("cohort:chat", "retry_storm", (2.0, Bound(3.0)), "hysteresis"),) if loop else ()
    return Investigation(
        Window(Instant(0), Instant(1)), Coverage((), (), ()), Calibration(), False, Impact("", None, None, 0.0), (),
        (Trigger(1, entity, mechanism, (), 0.9, onset),), 0.1, loops, loops,
    )  # fmt: skip


def test_every_mechanism_of_the_cures_is_in_the_catalogue() -> None:
    assert set(cures()) <= set(catalogue())


def test_a_scenario_survives_its_lock_and_a_store_from_outside_has_none(tmp_path: Path) -> None:
    scenario, _ = checked(drafted("throttled-gpu"))
    write_lock(tmp_path, scenario)
    assert read_lock(tmp_path) == scenario
    (tmp_path / LOCK).write_text("title = ")
    with pytest.raises(BadInput, match="replay it again"):
        read_lock(tmp_path)
    (tmp_path / LOCK).unlink()
    with pytest.raises(BadInput, match="what happened in the world cannot"):
        read_lock(tmp_path)


def test_without_its_trigger_the_outage_does_not_happen_and_without_retries_it_is_smaller() -> None:
    scenario, _ = checked(drafted("user-spike"))
    effects = {one.role: one for one in counterfactual(scenario, answer("cohort:chat", "external_load"), [1])}
    trigger, amplifier = effects["trigger"].avoided, effects["amplifier"].avoided
    assert trigger is not None and trigger[0] > 0.9
    assert amplifier is not None and 0.2 < amplifier[0] <= 1.0
    sustainer = effects["sustainer"].avoided
    assert sustainer is not None and sustainer[0] > 0.1 and "cut at" in effects["sustainer"].how


def test_taking_away_what_had_no_part_avoids_nothing() -> None:
    scenario, _ = checked(drafted("user-spike"))
    (effect,) = counterfactual(scenario, answer("replica:r2", "slow_replica", loop=False), [1])
    assert effect.avoided is None and "nothing in the scenario" in effect.how


def test_nothing_named_is_nothing_to_take_away() -> None:
    scenario, _ = checked(drafted("user-spike"))
    named = answer("replica:r2", "slow_replica", loop=False)
    empty = Investigation(named.window, named.coverage, named.calibration, True, named.impact)
    with pytest.raises(BadInput, match="nothing to take away"):
        counterfactual(scenario, empty, [1])


def test_the_share_avoided_is_one_for_all_and_none_for_the_same() -> None:
    bad = [[Seen(30.0 * i, 10, 0 if i > 3 else 10) for i in range(10)] for _ in range(2)]
    good = [[Seen(30.0 * i, 10, 10) for i in range(10)] for _ in range(2)]
    assert avoided(bad, good)[0] == 1.0 and avoided(bad, bad)[0] == 0.0
    low, high = avoided(bad, [bad[0], good[1]])[1:]
    assert 0.0 <= low < 0.5 < high <= 1.0
