"""The shipped traces are what their notice says: lines of the upstream files, unchanged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import zstandard

from incidents.workloads.make_excerpts import EXCERPTS, HERE, Excerpt, decompressed, excerpt
from instrumented_engine.clients.traces import read_trace, shipped_workloads

FULL = Path(__file__).resolve().parents[3] / "shared/data"


@pytest.mark.parametrize("which", EXCERPTS, ids=[which.name for which in EXCERPTS])
def test_an_excerpt_is_its_cut_of_the_full_trace(which: Excerpt) -> None:
    if not (FULL / which.source).is_file():
        pytest.skip(f"the full trace is not here: ../shared/data/{which.source}")
    assert decompressed(HERE / which.name) == excerpt(which, FULL)


@pytest.mark.parametrize("which", EXCERPTS, ids=[which.name for which in EXCERPTS])
def test_the_notice_names_file_and_source(which: Excerpt) -> None:
    notice = (HERE / "NOTICE.txt").read_text()
    assert which.name in notice
    assert which.sha256 in notice
    assert which.source.split("/")[1].removesuffix(".zst") in notice


def test_every_shipped_trace_has_a_cut() -> None:
    assert {path.name for path in shipped_workloads().values()} == {which.name for which in EXCERPTS}


def test_mooncake_holds_47_minutes_in_order() -> None:
    rows = list(read_trace(shipped_workloads()["mooncake_conversation"]))
    assert f"{len(rows):,} of 12,031" in (HERE / "NOTICE.txt").read_text()
    times = [row.at_s for row in rows]
    assert times == sorted(times)
    assert 2815 < times[-1] < 2820
    assert all(row.hash_ids for row in rows)


def test_azure_holds_15_minutes_in_order() -> None:
    rows = list(read_trace(shipped_workloads()["azure_conv_2023"]))
    assert f"{len(rows):,} of 19,366" in (HERE / "NOTICE.txt").read_text()
    times = [row.at_s for row in rows]
    assert times == sorted(times)
    assert 895 < times[-1] < 900


def test_another_source_is_refused(tmp_path: Path) -> None:
    which = EXCERPTS[0]
    path = tmp_path / which.source
    path.parent.mkdir()
    path.write_bytes(zstandard.compress(json.dumps({"timestamp": 1}).encode()))
    with pytest.raises(ValueError, match="SHA-256 is " + hashlib.sha256(b'{"timestamp": 1}').hexdigest()):
        excerpt(which, tmp_path)
