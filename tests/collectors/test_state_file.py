"""The state of series survives every crash as the published snapshot has it, and its file stays near what it says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from otlp_bodies import EXPECTED_SQL, body_of, expected_rows

from collectors.check_store import check_store
from collectors.decode.series_state import SeriesState
from collectors.errors import StoreUnreadable
from collectors.intake import Intake
from collectors.snapshot import Snapshot, read_snapshot, write_identity
from collectors.state_file import PREFIX, StateFile, read_state
from collectors.store import Store

UUID = "00000000-0000-4000-8000-000000000000"
SERIES = st.integers(-3, 3)
COUNTS = st.lists(st.integers(0, 2**63 - 1), max_size=3)
STEPS = st.lists(st.one_of(
    st.tuples(st.just("sum"), SERIES, st.floats(allow_nan=False)), st.tuples(st.just("histogram"), SERIES, COUNTS),
    st.tuples(st.just("arrays"), SERIES, COUNTS),
    st.tuples(st.sampled_from(["publish", "crash", "lost"]), st.just(0), st.none())),
    max_size=40)


def plain(state: SeriesState) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(state.save()))


@given(STEPS)
@settings(max_examples=100)
def test_a_crash_leaves_the_state_that_was_published(tmp_path_factory: pytest.TempPathFactory,
                                                     steps: list[tuple[Any, ...]]) -> None:
    store = tmp_path_factory.mktemp("state")
    told: dict[str, Any] = {}
    state, file, published = SeriesState(), StateFile(store, told), plain(SeriesState())
    for at, (what, series, value) in enumerate(steps, 1):
        if what == "sum":
            state.accumulate(series, value)
        elif what == "histogram":
            state.histogram(series, 0, at, sum(value), None, value)
        elif what == "arrays":
            state.put_histogram(series, [0, at, 1, None, np.array(value, np.int64)])
        elif what == "publish":
            told, published = file.save(state), plain(state)
        else:
            if what == "lost":  # between the file and the snapshot
                file.save(state)
            state, file = SeriesState(read_state(store, told)), StateFile(store, told)
        assert read_state(store, told) == published
        assert what not in ("crash", "lost") or plain(state) == published


def test_only_what_changed_is_written_until_the_file_is_begun_anew(tmp_path: Path) -> None:
    state, told = SeriesState(), dict[str, Any]()
    file = StateFile(tmp_path, told)
    for series in range(100):
        state.histogram(series, 0, 1, 4, 1.0, [1, 2, 1])
    sizes = []
    for round_ in range(2, 4000):
        state.histogram(7, 0, round_, 4 * round_, 1.0, [round_, 2 * round_, round_])
        before, told = told, file.save(state)
        sizes.append(told["bytes"])
        assert file.save(state) is told  # nothing changed
        assert not before or before["name"] != told["name"] or told["bytes"] - before["bytes"] < 100
    assert max(sizes) < (1 << 16) + 100 and len({*sizes}) > 3000
    assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 1 and told["name"] != f"{PREFIX}{1:08d}"
    assert read_state(tmp_path, told) == plain(state)


def test_a_file_that_is_not_as_told_is_named(tmp_path: Path) -> None:
    state = SeriesState()
    state.accumulate(1, 2.5)
    write_identity(tmp_path, UUID)
    told = StateFile(tmp_path, {}).save(state)
    Snapshot(UUID, series_file=told).publish(tmp_path)
    assert check_store(tmp_path) == []
    path = tmp_path / told["name"]
    good = path.read_bytes()
    for bad in (good[:-2], good.replace(b"2.5", b"3.5")):
        path.write_bytes(bad)
        with pytest.raises(StoreUnreadable, match=f"{path}: its first {len(good)} bytes"):
            read_state(tmp_path, told)
        (finding,) = check_store(tmp_path)
        assert finding.path == str(path) and "restore" in finding.remedy
    path.unlink()
    with pytest.raises(StoreUnreadable, match="cannot be read"):
        read_state(tmp_path, told)


def test_the_state_in_a_snapshot_of_an_earlier_flashover_is_taken_over(tmp_path: Path) -> None:
    store = tmp_path / "s"
    for first in (1, 13):
        with Intake.open(store) as intake:
            for seq in range(first, first + 12):
                intake.put(*body_of(seq))
        snapshot = read_snapshot(store)
        assert snapshot is not None and snapshot.series_file and not snapshot.series_state
        if first == 1:
            snapshot.series_state, snapshot.series_file = read_state(store, snapshot.series_file), {}
            snapshot.publish(store)
            for path in store.glob(f"{PREFIX}*"):
                path.unlink()
    with Store.open(store) as reader:
        rows = [tuple(row.values()) for row in reader.query(EXPECTED_SQL["samples"]).to_pylist()]
    assert Counter((*row[:3], row[3] and tuple(row[3])) for row in rows) == expected_rows(24)["samples"]
