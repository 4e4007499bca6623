"""The catalogue: every shipped file is sound, and a bad one is refused with file, key, value and the nearest name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import analysis
from analysis.mechanisms import catalogue, load_catalogue
from analysis.signal_catalogue import SIGNALS
from collectors.errors import BadInput

SHIPPED = Path(analysis.__file__).parent / "mechanisms"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "mechanisms"))


def test_the_shipped_catalogue_names_dozens_of_triggers_and_their_loops() -> None:
    roles = [mechanism.role for mechanism in catalogue().values()]
    assert len(roles) >= 25 and roles.count("trigger") >= 25 and roles.count("loop") >= 5
    assert set(catalogue()) == {path.stem for path in SHIPPED.glob("*.toml")}


def test_look_alikes_look_alike_both_ways() -> None:
    one_way = {
        (name, other) for name, mechanism in catalogue().items() for other in mechanism.look_alikes
        if name not in catalogue()[other].look_alikes
    }  # fmt: skip
    assert one_way == set()
    assert all(name not in mechanism.look_alikes for name, mechanism in catalogue().items())


@pytest.mark.parametrize("name", catalogue())
def test_a_mechanism_can_be_told_explained_and_acted_upon(name: str) -> None:
    mechanism = catalogue()[name]
    assert mechanism.title and mechanism.told_apart_by and mechanism.mitigation and mechanism.sources
    assert mechanism.alert.name and mechanism.alert.expr and mechanism.alert.hold
    assert 0 <= mechanism.lag_bounds_s[0] <= mechanism.lag_bounds_s[1]
    assert mechanism.path[0].kind == mechanism.entity_kind, "the way begins where the mechanism is"
    assert mechanism.path[-1].kind == "cohort", "and ends with the users"
    own = {(move.signal, move.direction) for move in mechanism.of_role("signature")}
    assert own & set(zip(mechanism.path[0].signals, mechanism.path[0].directions, strict=True))


def test_loops_that_a_trigger_can_close_are_loops() -> None:
    assert {catalogue()[loop].role for mechanism in catalogue().values() for loop in mechanism.loops} == {"loop"}


def test_mechanisms_with_the_same_signature_on_the_same_kind_look_alike() -> None:
    signatures: dict[tuple[str, str, str], list[str]] = {}
    for mechanism in catalogue().values():
        for move in mechanism.of_role("signature"):
            signatures.setdefault((mechanism.entity_kind, move.signal, move.direction), []).append(mechanism.name)
    for names in signatures.values():
        assert all(other in catalogue()[name].look_alikes for name in names for other in names if other != name)


def test_what_brings_a_mechanism_on_is_demand_or_a_cache_that_makes_room_for_it() -> None:
    brought = {name for mechanism in catalogue().values() for name in mechanism.brought_on_by}
    assert {name for name in brought if catalogue()[name].family != "demand"} == {"kv_eviction_storm"}


BAD = [
    ('title = "', 'tilte = "', ["tilte", "A replica has become slow", "did you mean 'title'"]),
    ('family = "efficiency"\n', "", ["family", "missing"]),
    ('family = "efficiency"', 'family = "speed"', ["family", "speed", "efficiency"]),
    ("lag_bounds_s = [0, 1800]", 'lag_bounds_s = [0, "long"]', ["lag_bounds_s.1", "long", "float"]),
    ("lag_bounds_s = [0, 1800]", "lag_bounds_s = [0, 1, 2]", ["lag_bounds_s", "[0, 1, 2]"]),
    ('entity_kind = "replica"', 'entity_kind = "replika"', ["entity_kind", "replika", "did you mean 'replica'"]),
    ('signal = "replica.step_cost"', 'signal = "replica.step_costs"', ["moves.0.signal", "did you mean 'replica.step_cost'"]),
    ('signal = "replica.step_cost"', 'signal = "gateway.wait"', ["moves.0.signal", "gateway.wait", "entity_kind"]),
    ('direction = "up"', 'direction = "sideways"', ["moves.0.direction", "sideways", "'up', 'down'"]),
    ("weight = 1.0", "weight = 1.5", ["moves.0.weight", "1.5"]),
    ("weight = 1.0", "weight = true", ["moves.0.weight", "True"]),
    ('role = "signature"', 'role = "symptom"', ["signature"]),
    ('signals = ["replica.step_cost", "replica.waiting"]', 'signals = ["replica.step_cost"]', ["path.0.directions"]),
    ('signals = ["replica.step_cost", "replica.waiting"]', 'signals = ["replica.step_cost", "x"]', ["path.0.signals", "'x'"]),
    ('kind = "gateway"', 'kind = "gate"', ["path.1.kind", "gate"]),
    ('["router_imbalance"', '["router_imbalanse"', ["look_alikes", "router_imbalanse", "did you mean 'router_imbalance'"]),
    ('loops = ["retry_storm"]', 'loops = ["retries"]', ["loops", "retries"]),
    ('name = "slow_replica"', 'name = "slow"', ["name", "slow", "slow_replica"]),
    ("[alert]", "[alert", ["not TOML"]),
    ('loops = ["retry_storm"]', 'loops = "retry_storm"', ["loops", "retry_storm"]),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "said"), BAD, ids=[bad.partition("\n")[0] or "missing" for _, bad, _ in BAD])
def test_a_bad_file_is_refused_and_the_message_says_where_and_how(
    folder: Path, good: str, bad: str, said: list[str]
) -> None:
    path = folder / "slow_replica.toml"
    text = path.read_text()
    assert good in text
    path.write_text(text.replace(good, bad, 1) if good != 'role = "signature"' else text.replace(good, bad))
    with pytest.raises(BadInput) as refused:
        load_catalogue(folder)
    message = str(refused.value)
    assert str(path) in message
    assert [word for word in said if word not in message] == []


def test_a_new_file_is_a_new_mechanism(folder: Path) -> None:
    text = (folder / "replica_loss.toml").read_text().replace('name = "replica_loss"', 'name = "cold_replica"', 1)
    (folder / "cold_replica.toml").write_text(text)
    assert set(load_catalogue(folder)) == {*catalogue(), "cold_replica"}


def test_what_a_mechanism_asks_of_a_signal_exists_for_it() -> None:
    for mechanism in catalogue().values():
        for hop in mechanism.path:
            assert {SIGNALS[name].kind for name in hop.signals} == {hop.kind}, mechanism.name
        for move in mechanism.moves:
            assert move.versus == "itself" or SIGNALS[move.signal].kind in ("replica", "region"), mechanism.name
