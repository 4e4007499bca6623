"""Public outages: records hold, a run is read as a status page would tell it, marks are met, and counter-tests differ."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from collectors.errors import BadInput
from incidents.commands.incidents import main
from incidents.goodput import Window
from incidents.outages.compare import Compared, judged
from incidents.outages.record import load_outage, outages
from incidents.outages.states import Event, Stretch, events, stretches
from incidents.outages.told import compared, shown, verdict
from instrumented_engine.loading import load_scenario
from tests.support.shared_data import shared

LONG = "deepseek-2026-03-29"


def windows(shares: str) -> list[Window]:
    """A window of three minutes a character: # all served, = three quarters, . nobody."""
    return [Window(180.0 * i, 20, {"#": 20, "=": 15, ".": 0}[share]) for i, share in enumerate(shares)]


@pytest.mark.parametrize(("shares", "told"), [
    ("######", []),
    ("###...###", [(540, "down"), (1080, "up")]),
    ("###.####", []),
    ("###==###", [(900, "up")]),
    ("##..==..##", [(360, "down"), (1080, "down"), (1440, "up")]),
    ("##...#...##", [(360, "down"), (1620, "up")]),
    ("##.....", [(360, "down")]),
])  # fmt: skip
def test_a_run_is_read_as_a_status_page(shares: str, told: list[tuple[float, str]]) -> None:
    assert events(stretches(windows(shares))) == [Event(*one) for one in told]


def states(*downs: tuple[str, str]) -> list[Stretch]:
    """Chat's states of the night of 29 March, from the times of day at which it went down and up again."""
    outage = load_outage(LONG)

    def second(text: str) -> float:
        at = datetime.fromisoformat(f"2026-03-29T{text}+08:00")
        return ((at if at >= outage.start else at + timedelta(days=1)) - outage.start).total_seconds()

    edges = [0.0, *(second(text) for pair in downs for text in pair), 52_200.0]
    return [Stretch(low, high, "outage" if i % 2 else "operational")
            for i, (low, high) in enumerate(pairwise(edges))]  # fmt: skip


CALM = [Stretch(0.0, 52_200.0, "operational")]
AS_MARKED = (("21:40", "23:20"), ("00:20", "01:30"), ("02:10", "10:40"))


def held(*downs: tuple[str, str], api: list[Stretch] = CALM) -> Compared:
    return judged(load_outage(LONG), "kv-sync", 1, {"chat": states(*downs), "api": api}, 0)


def test_a_run_with_the_events_of_the_marks_reproduces_them() -> None:
    found = held(*AS_MARKED)
    assert found.reproduces
    assert [None if one is None else round(one) for one in found.off_min] == [4, -3, 0, -6, 7]
    assert found.extra == ()


@pytest.mark.parametrize(("found", "why"), [
    (held(("21:40", "23:20")), "no first relapse, no second relapse"),
    (held(*AS_MARKED, api=states(("21:40", "21:50"))), "api was not operational throughout"),
    (held(("21:10", "21:20"), *AS_MARKED), "1 outages more"),
    (held(("22:40", "23:20"), *AS_MARKED[1:]), "start +64 min"),
])  # fmt: skip
def test_what_is_wrong_is_said(found: Compared, why: str) -> None:
    outage = load_outage(LONG)
    names = [mark.name for mark in outage.marks if mark.event]
    assert not found.reproduces
    assert why in verdict(outage.hypothesis("kv-sync"), found, names, outage.tolerance_min)
    assert why in " ".join(compared(outage, [found]).split())


@pytest.mark.parametrize("name", outages())
def test_every_claim_has_a_source_and_every_hypothesis_a_scenario(name: str) -> None:
    outage = load_outage(name)
    assert all(mark.source for mark in outage.marks)
    assert outage.undecidable
    for one in outage.hypotheses:
        assert one.source
        assert outage.scenario(one, 2, outage.fixes).seed == 2
    text = shown(outage)
    assert all(one.name in text and one.standing in text for one in outage.hypotheses)


def test_the_marks_of_the_long_night_are_those_of_the_status_page() -> None:
    told = json.loads((shared("deepseek_status_history") / "key_incidents.json").read_text())
    official = {one["t"]: one["chat"] for incident in told["incidents"] for one in incident["updates"]}
    chat = {"full_outage": "outage", "degraded": "degraded", "operational": "operational"}
    for mark in load_outage(LONG).marks:
        assert chat[official[round(mark.at.astimezone(UTC).timestamp())]] == mark.state


def test_a_backlog_that_is_validated_is_no_outage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "openai-2026-03-04", "--json", "--jobs", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    seen = {one["hypothesis"]: {part["state"] for part in one["states"]["all"]} for one in told["compared"]}
    assert "outage" in seen["breaker-backlog"]
    assert seen["validated-backlog"] == {"operational"}
    assert {one["reproduces"] for one in told["compared"]} == {None}


def test_an_explanation_becomes_a_scenario_without_a_truth(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    assert main(["new", str(folder), "--hypothesis", f"{LONG}/kv-sync"]) == 0
    assert [path.name for path in folder.iterdir()] == ["scenario.toml"]
    assert load_scenario(folder / "scenario.toml").kv_index.lookups_wait


@pytest.mark.parametrize(("arguments", "message"), [
    (["compare", "deepseek-2026-03"], "did you mean 'deepseek-2026-03-29'"),
    (["compare", LONG, "--hypothesis", "kv-sink"], "did you mean 'kv-sync'"),
    (["new", "x", "--hypothesis", LONG], "no hypothesis ''"),
])  # fmt: skip
def test_what_does_not_exist_is_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_record_with_what_cannot_be_names_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from incidents.outages import record

    text = (record.RECORDS / "openai-2026-03-04.toml").read_text()
    monkeypatch.setattr(record, "RECORDS", tmp_path)
    (tmp_path / "bad.toml").write_text(text.replace('all = ["chat", "api"]', 'all = ["chat", "apj"]'))
    with pytest.raises(BadInput, match=r"bad\.toml: components\.all = 'apj'"):
        load_outage("bad")
    (tmp_path / "bad.toml").write_text(text.replace('target = "autoscaler:main"', 'target = "autoscaler:west"'))
    with pytest.raises(BadInput, match=r"bad\.toml: hypotheses\.breaker-backlog"):
        load_outage("bad")
    (tmp_path / "bad.toml").write_text(text.replace("tolerance_min = 15", "tolerance = 15"))
    with pytest.raises(BadInput, match="tolerance"):
        load_outage("bad")
