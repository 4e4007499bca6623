"""The collector's own /metrics: every count arrives, the page parses, and docs/collecting.md lists what is on it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from collectors.decode.limits import Reason
from collectors.schema import TABLES
from collectors.service.own_metrics import Outcome, OwnMetrics, Transport, markdown
from collectors.service.vitals import Vitals
from collectors.sink import SIGNALS

ROOT = Path(__file__).resolve().parents[2]
REQUESTS = st.lists(st.tuples(st.sampled_from(get_args(Transport)), st.none() | st.sampled_from(SIGNALS),
                              st.sampled_from(get_args(Outcome)), st.integers(0, 10**9), st.floats(0, 100)), max_size=20)
COUNTS = st.integers(0, 2**53)
NAMES = st.text(max_size=8)
VITALS = st.builds(
    Vitals, queue_bytes=COUNTS, journal_bytes=COUNTS, journal_frames=COUNTS, lag_s=st.floats(0, 1e9), synced_seq=COUNTS,
    decoded_seq=COUNTS, rows=st.dictionaries(st.sampled_from(list(TABLES)) | NAMES, COUNTS),
    rejects=st.dictionaries(st.sampled_from(SIGNALS) | NAMES, COUNTS),
    drops=st.dictionaries(st.sampled_from(get_args(Reason)) | NAMES, COUNTS), restarts=COUNTS,
    disk_free_bytes=COUNTS, problems=st.lists(NAMES, max_size=2).map(tuple))


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(page: bytes) -> Samples:
    """Every sample of a page by name and labels; none may come twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(page: Samples, name: str, **labels: str) -> float:
    return page[f"flashover_collector_{name}", frozenset(labels.items())]


@given(REQUESTS)
@settings(max_examples=40)
def test_every_request_is_counted_once_with_its_bytes_and_its_time(requests: list[Any]) -> None:
    metrics = OwnMetrics()
    for request in requests:
        metrics.received(*request)
    page = samples(metrics.page(Vitals()))
    outcomes = Counter((transport, signal or "none", outcome) for transport, signal, outcome, _, _ in requests)
    for (transport, signal, outcome), count in outcomes.items():
        assert value(page, "requests_total", transport=transport, signal=signal, outcome=outcome) == count
    for transport, signal in {key[:2] for key in outcomes}:
        mine = [request for request in requests if request[:2] == (transport, None if signal == "none" else signal)]
        where = {"transport": transport, "signal": signal}
        assert value(page, "received_bytes_total", **where) == sum(request[3] for request in mine)
        assert value(page, "request_duration_seconds_count", **where) == len(mine)
        assert value(page, "request_duration_seconds_sum", **where) == pytest.approx(sum(request[4] for request in mine))
        within = sum(request[4] <= 0.1 for request in mine)
        assert value(page, "request_duration_seconds_bucket", **where, le="0.1") == within
    total = sum(v for (name, _), v in page.items() if name == "flashover_collector_requests_total")
    assert total == len(requests)


@given(VITALS)
@settings(max_examples=60)
def test_the_page_says_what_the_vitals_say_whatever_the_names(vitals: Vitals) -> None:
    page = samples(OwnMetrics().page(vitals))
    for name, label, counts, known in (("rows_total", "table", vitals.rows, TABLES),
                                       ("rejects_total", "signal", vitals.rejects, SIGNALS),
                                       ("drops_total", "reason", vitals.drops, get_args(Reason))):
        for key in {*counts, *known}:
            assert value(page, name, **{label: key}) == counts.get(key, 0)
    assert value(page, "queue_bytes") == vitals.queue_bytes
    assert value(page, "journal_bytes") == vitals.journal_bytes
    assert value(page, "journal_frames") == vitals.journal_frames
    assert value(page, "synced_frames_total") == vitals.synced_seq
    assert value(page, "decoded_frames_total") == vitals.decoded_seq
    assert value(page, "decode_lag_seconds") == vitals.lag_s
    assert value(page, "worker_restarts_total") == vitals.restarts
    assert value(page, "disk_free_bytes") == vitals.disk_free_bytes
    assert value(page, "healthy") == (not vitals.problems)


def test_what_is_known_beforehand_starts_at_zero() -> None:
    page = samples(OwnMetrics().page(Vitals()))
    assert {value(page, "requests_total", transport=transport, signal=signal, outcome="ok")
            for transport in get_args(Transport) for signal in SIGNALS} == {0}
    assert {value(page, "drops_total", reason=reason) for reason in get_args(Reason)} == {0}
    assert {value(page, "rows_total", table=table) for table in TABLES} == {0}


def test_counters_are_counters_gauges_are_gauges_and_all_are_explained() -> None:
    for family in text_string_to_metric_families(OwnMetrics().page(Vitals()).decode()):
        assert family.documentation
        names = {sample.name for sample in family.samples}
        if family.type == "counter":
            assert names == {family.name + "_total"}
        elif family.type == "gauge":
            assert names == {family.name} and not family.name.endswith("_total")
        else:
            assert family.type == "histogram"


def test_nothing_goes_through_the_global_registry() -> None:
    before = {metric.name for metric in REGISTRY.collect()}
    OwnMetrics().received("http", "traces", "ok", 1, 0.1)
    OwnMetrics().page(Vitals())
    assert {metric.name for metric in REGISTRY.collect()} == before
    assert not any(name.startswith("flashover") for name in before)


def test_both_processes_show_what_they_use() -> None:
    alone = samples(OwnMetrics().page(Vitals()))
    both = samples(OwnMetrics(lambda: os.getppid()).page(Vitals()))
    none = frozenset[tuple[str, str]]()
    assert alone["process_resident_memory_bytes", none] > 1 << 20
    assert ("flashover_collector_worker_process_resident_memory_bytes", none) not in alone
    assert both["flashover_collector_worker_process_resident_memory_bytes", none] > 0
    assert ("flashover_collector_worker_process_cpu_seconds_total", none) in both


def test_the_docs_list_the_metrics() -> None:
    assert markdown() in (ROOT / "docs/collecting.md").read_text(encoding="utf-8")


def test_promtool_has_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; it comes with the package prometheus")
    metrics = OwnMetrics(lambda: os.getpid())
    metrics.received("grpc", None, "malformed", 10, 0.2)
    page = metrics.page(Vitals(rows={"spans": 5}, drops={"prompt_text": 2}))
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
