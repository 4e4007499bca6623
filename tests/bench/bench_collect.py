"""What collecting costs and whether it holds: ``python tests/bench/bench_collect.py [cost|live|soak] [--seconds N]``.

cost (T2): posts of 510 spans over HTTP to a running ``flashover collect`` until their rows are in the Delta tables. Spans for
each CPU-second of receiver and worker together, against the same bodies decoded alone, by turns, median of several repeats:
by the official classes into a Python list for each column and from there into Arrow, nine attributes promoted, nothing checked
(the least that pure Python can do), and by Flashover's own decoder of that kind, which makes the very tables of the store.
live (T11): a writer and three readers. Whatever a reader counts must be what one published snapshot holds: whole bodies, in
all tables up to the same frame. soak: 20,000 spans and 50,000 samples a second; memory of both processes and the journal.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path

import pyarrow as pa
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "support"))

from otlp_load import REQUESTS, SAMPLES, SPANS, SampleBodies, Sender, SpanBodies  # noqa: E402
from running_collector import RunningCollector  # noqa: E402

from collectors.decode.decode_metrics import KnownSeries  # noqa: E402
from collectors.decode.edges import SpanMemory  # noqa: E402
from collectors.decode.limits import Drops, Limits  # noqa: E402
from collectors.decode.resources import Emitters  # noqa: E402
from collectors.decode.round import Round  # noqa: E402
from collectors.decode.series_state import SeriesState  # noqa: E402
from collectors.dialects import Dialects  # noqa: E402
from collectors.snapshot import read_snapshot  # noqa: E402
from collectors.store import Store  # noqa: E402

REPEATS, POSTS, CLIENTS = 5, 200, 4
SPAN_RATE, SAMPLE_RATE = 20_000, 50_000
READERS = 3
DIALECTS = Dialects()
_TICKS = os.sysconf("SC_CLK_TCK")
_COLUMNS = ("gen_ai.request.id", "flashover.attempt", "flashover.outcome", "flashover.cohort", "flashover.replica",
            "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "flashover.e2e_ns", "gen_ai.request.model")
_IDS = {"trace": pa.binary(16), "span": pa.binary(8), "parent": pa.binary(), "name": pa.string(), "kind": pa.int32(),
        "start": pa.int64(), "end": pa.int64(), "status": pa.int32()}


def python_lists(bodies: list[bytes]) -> pa.Table:
    """Spans by the official classes into a list for each column: nine attributes promoted, the others in one MAP."""
    columns: list[list[object]] = [[] for _ in range(len(_IDS) + len(_COLUMNS))]
    places = {key: len(_IDS) + at for at, key in enumerate(_COLUMNS)}
    rest: list[list[tuple[str, str]]] = []
    for first in range(0, len(bodies), 40):  # bodies joined are one body: 20,000 spans at a time
        request = ExportTraceServiceRequest.FromString(b"".join(bodies[first : first + 40]))
        for block in request.resource_spans:
            for scope in block.scope_spans:
                for span in scope.spans:
                    row: list[object] = [span.trace_id, span.span_id, span.parent_span_id, span.name, span.kind,
                                         span.start_time_unix_nano, span.end_time_unix_nano, span.status.code]
                    row += [None] * len(_COLUMNS)
                    others = []
                    for attribute in span.attributes:
                        value = getattr(attribute.value, attribute.value.WhichOneof("value"))
                        place = places.get(attribute.key)
                        if place is None:
                            others.append((attribute.key, str(value)))
                        else:
                            row[place] = value
                    for column, cell in zip(columns, row, strict=True):
                        column.append(cell)
                    rest.append(others)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, _IDS.values(), strict=False)]
    arrays += [pa.array(column) for column in columns[len(_IDS):]]
    arrays.append(pa.array(rest, pa.map_(pa.string(), pa.string())))
    return pa.table(arrays, [*_IDS, *_COLUMNS, "attributes"])


def official_rows(bodies: list[bytes]) -> int:
    """Spans by the store's own decoder on the official classes: all tables, checked, limited, without prompt text."""
    rows = 0
    for first in range(0, len(bodies), 40):
        work = Round(Emitters(Limits()), SpanMemory(), KnownSeries(set(), DIALECTS), SeriesState(), {}, 0, Limits(), Drops(),
                     official=True)
        work.take((at, "traces", body) for at, body in enumerate(bodies[first : first + 40], 1))
        rows += work.tables()["spans"].num_rows
    return rows


def cpu_s(pid: int | None) -> float:
    """CPU seconds that a process has used so far."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_mb(pid: int | None) -> float:
    """Resident memory of a process in MB."""
    if pid is None:
        return 0.0
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def health(collector: RunningCollector) -> dict[str, object]:
    """What /health says, also while it fails."""
    found: dict[str, object] = json.loads(collector.get("/health")[1])
    return found


def until_decoded(collector: RunningCollector) -> None:
    """Return when every body that is durable now is in the tables. Whoever is measured is asked once."""
    synced = health(collector)["synced_seq"]
    while (snapshot := read_snapshot(collector.store)) is None or snapshot.seq < int(str(synced)):
        time.sleep(0.1)


def collected(collector: RunningCollector, bodies: list[bytes]) -> tuple[float, float]:
    """CPU seconds that receiver and worker spend on ``bodies``."""
    before = cpu_s(collector.pid), cpu_s(collector.worker_pid())
    senders = []
    for first in range(CLIENTS):
        mine = bodies[first::CLIENTS]
        senders.append(Sender(collector.port, "traces", partial(_given, iter(mine)), count=len(mine)))
        senders[-1].start()
    for sender in senders:
        sender.join()
        assert not sender.failure, sender.failure
    until_decoded(collector)
    return cpu_s(collector.pid) - before[0], cpu_s(collector.worker_pid()) - before[1]


def _given(feed: Iterator[bytes], now_ns: int) -> bytes:
    return next(feed)


def cost(collector: RunningCollector, repeats: int = REPEATS) -> None:
    """Measure T2 and print it."""
    source, took = SpanBodies(1), []
    collected(collector, [source.next(time.time_ns()) for _ in range(POSTS)])
    for _ in range(repeats):
        bodies = [source.next(time.time_ns()) for _ in range(POSTS)]
        took.append((*collected(collector, bodies), _alone(lambda some: python_lists(some).num_rows, bodies),
                     _alone(official_rows, bodies)))
    receiver, worker, lists, official = (statistics.median(column) / POSTS / SPANS * 1e6 for column in zip(*took, strict=True))
    ours = [receiver + worker for receiver, worker, _, _ in took]
    print(f"T2 {repeats} x {POSTS} posts of {SPANS} spans, zstd, {CLIENTS} clients; CPU us/span: receiver {receiver:.2f}, "
          f"worker {worker:.2f}; {1e3 / (receiver + worker):.0f} k spans per CPU-s")
    for at, name, least in ((2, "Python lists", lists), (3, "Python lists of the store's tables", official)):
        ratios = [row[at] / total for row, total in zip(took, ours, strict=True)]
        print(f"T2 against {name} alone ({least:.2f}): ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to "
              f"{max(ratios):.2f})")


def _alone(decode: Callable[[list[bytes]], int], bodies: list[bytes]) -> float:
    """CPU seconds of a decoder on ``bodies``; the collector of cycles rests, as it does in the worker's decoders."""
    gc.disable()
    try:
        begun = time.process_time_ns()
        rows = decode(bodies)
        took = (time.process_time_ns() - begun) / 1e9
    finally:
        gc.enable()
    assert rows == len(bodies) * SPANS
    return took


def watch(store: Path, seconds: float, found: Queue[tuple[int, int, int, list[str]]]) -> None:
    """Read for ``seconds``; gives queries, snapshots seen, rows at the end, and whatever was wrong."""
    queries, last, seen, wrong = 0, -1, set[int](), list[str]()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            before = read_snapshot(store)
            with Store.open(store) as reader:
                after = read_snapshot(store)
                spans, traces, newest = _counted(reader, "spans")
                samples, scrapes, newest_sample = _counted(reader, "samples")
                requests = reader.query("SELECT count(*) AS n FROM requests").column("n")[0].as_py()
        except Exception as error:  # noqa: BLE001 (whatever a reader meets is what is measured)
            wrong.append(f"{type(error).__name__}: {error}")
            continue
        queries += 1
        frames = traces + scrapes
        seen.add(frames)
        if (spans, samples, requests) != (traces * SPANS, scrapes * SAMPLES, traces * REQUESTS):
            wrong.append(f"{spans} spans, {requests} requests of {traces} bodies; {samples} samples of {scrapes} bodies")
        if frames != max(newest, newest_sample) or frames < last:
            wrong.append(f"{frames} frames after {last}, the newest is {max(newest, newest_sample)}")
        if before and after and not before.seq <= frames <= after.seq:
            wrong.append(f"{frames} frames, published were {before.seq} to {after.seq}")
        last = frames
    found.put((queries, len(seen), last, wrong))


def _counted(reader: Store, table: str) -> tuple[int, int, int]:
    """Rows, frames and the newest frame of a table."""
    row = reader.query(f"SELECT count(*) AS n, count(DISTINCT frame) AS frames, coalesce(max(frame), 0) AS newest FROM {table}")
    return tuple(column[0].as_py() for column in row.columns)  # type: ignore[return-value]


def live(collector: RunningCollector, seconds: float) -> None:
    """Run T11 and print it; SystemExit when a reader saw anything that was never published."""
    context = multiprocessing.get_context("spawn")
    found: Queue[tuple[int, int, int, list[str]]] = context.Queue()
    senders = _senders(collector, SPAN_RATE, SAMPLE_RATE / 5)
    readers = [context.Process(target=watch, args=(collector.store, seconds, found)) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    results = [found.get() for _ in readers]
    for reader in readers:
        reader.join()
    sent = _stop(senders)
    wrong = [sentence for result in results for sentence in result[3]]
    queries, snapshots, newest = sum(r[0] for r in results), max(r[1] for r in results), max(r[2] for r in results)
    print(f"T11 {seconds:.0f} s, {sent} posts ({sent / seconds:.0f}/s), {READERS} readers: {queries} queries of {snapshots} "
          f"snapshots, newest frame {newest}; wrong or failed: {len(wrong)}")
    if wrong:
        raise SystemExit("\n".join(wrong[:10]))


def soak(collector: RunningCollector, seconds: float) -> None:
    """Run the soak and print it, a line about every tenth of the time."""
    senders = _senders(collector, SPAN_RATE, SAMPLE_RATE)
    begun, journal = time.monotonic(), [0]
    start = cpu_s(collector.pid), cpu_s(collector.worker_pid())
    print("     s  posts  again  receiver MB  worker MB  journal MB  waiting  lag s")
    for step in range(1, 11):
        while time.monotonic() < begun + step * seconds / 10:
            time.sleep(0.5)
            journal.append(sum(path.stat().st_size for path in (collector.store / "journal").glob("*.wal") if path.exists()))
        vitals = health(collector)
        sent, again = sum(s.sent for s in senders), sum(s.again for s in senders)
        print(f"{time.monotonic() - begun:6.0f} {sent:6d} {again:6d} {rss_mb(collector.pid):12.0f} "
              f"{rss_mb(collector.worker_pid()):10.0f} {journal[-1] / 1e6:11.1f} {vitals['journal_frames']!s:>8} "
              f"{vitals['lag_s']:6.1f}", flush=True)
    took = time.monotonic() - begun
    cpu = cpu_s(collector.pid) - start[0], cpu_s(collector.worker_pid()) - start[1]
    spans, samples = senders[0].sent * SPANS / took, sum(s.sent for s in senders[1:]) * SAMPLES / took
    _stop(senders)
    print(f"soak {spans:.0f} spans/s, {samples:.0f} samples/s; CPU: receiver {cpu[0] / took:.0%}, worker {cpu[1] / took:.0%}; "
          f"largest journal {max(journal) / 1e6:.1f} MB; senders at most {max(s.behind_s for s in senders):.1f} s behind")


def _senders(collector: RunningCollector, spans: float, samples: float) -> list[Sender]:
    senders = [Sender(collector.port, "traces", SpanBodies(2).next, spans / SPANS),
               Sender(collector.port, "metrics", SampleBodies(3).next, samples / SAMPLES)]
    for sender in senders:
        sender.start()
    return senders


def _stop(senders: list[Sender]) -> int:
    """Bodies sent. SystemExit when a sender was refused."""
    for sender in senders:
        sender.stop()
        if sender.failure:
            raise SystemExit(f"{sender.signal}: {sender.failure}")
    return sum(sender.sent for sender in senders)


def main() -> None:
    """Measure what is asked for, all of it for a short while without an argument."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["cost", "live", "soak"])
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of live and soak")
    given = parser.parse_args()
    for part in [given.part] if given.part else ["cost", "live", "soak"]:
        with tempfile.TemporaryDirectory() as folder:
            collector = RunningCollector(Path(folder) / "store")
            collector.start()
            try:
                if part == "cost":
                    cost(collector)
                else:
                    (live if part == "live" else soak)(collector, given.seconds)
                code = collector.stop()
                assert code == 0, (code, collector.said())
            finally:
                collector.end()


if __name__ == "__main__":
    main()
