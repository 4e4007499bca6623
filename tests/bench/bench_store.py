"""What keeping a store small is worth: ``python tests/bench/bench_store.py``. Bytes and CPU time, as ratios.

size: bytes of stored spans and request rows, after all upkeep, against the same OTLP bodies under zstd-1: bodies as the
engine's telemetry sends them (evenly random phases, the worst for durations), and spans of a root and four children with
random ids: as a vLLM-like source sends them, with 13 to 15 attributes (fleet), with 12 to 15 of which three are figures
that vary (random), and with nearly constant attributes (bare), where random ids are half of the raw bytes.
reading: a scan of these spans, against pyarrow's own choice of encodings under zstd-1. rollups: robust z (median, MAD) of
the last ten minutes against six hours of 1,000 series, from minutes against from samples. newest: opening a store and
reading its last five minutes, after 2,000 commits against after 20, with upkeep between rounds as a collector does it.
CPU time of the process, in one process and taking turns, least of several repeats.
"""

from __future__ import annotations

import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from bench_decode_spans import fleet_bodies
from bench_intake import decode, make_bodies
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collectors.clock import ManualClock
from collectors.intake import Intake
from collectors.live_views import open_duckdb
from collectors.schema import SAMPLES
from collectors.sink import Signal
from collectors.snapshot import Snapshot, read_snapshot, write_identity
from collectors.store import Store
from collectors.tables.delta_tables import DeltaTables
from collectors.tables.hours import HOUR_NS
from collectors.tables.live_files import read_live_files, table_path
from collectors.tables.rollups import note_samples
from collectors.tables.upkeep import Upkeep, UpkeepOptions

START = 1_770_001_200_000_000_000 // HOUR_NS * HOUR_NS
SECOND = 1_000_000_000
REPEATS = 7
REQUESTS, REPLICAS = 16_000, 8
SERIES, HOURS = 1_000, 6
COMMITS, COMMIT_S = (20, 2_000), 15
Bodies = list[tuple[Signal, bytes]]


def made_bodies(chance: random.Random, *, bare: bool = False, count: int = REQUESTS // 100) -> Bodies:
    """Requests of a chat service, 100 a body: a root span and its queue, prefill, kv_sync and decode."""
    return [("traces", _body(chance, START + at * SECOND, at, bare)) for at in range(count)]


def _body(chance: random.Random, now: int, at: int, bare: bool) -> bytes:
    body = ExportTraceServiceRequest()
    block = body.resource_spans.add()
    _set(block.resource.attributes, {"service.name": "vllm", "flashover.entity": f"replica:r{at % REPLICAS}"})
    spans = block.scope_spans.add().spans
    for _ in range(100):
        trace, root, begin = chance.randbytes(16), chance.randbytes(8), now + chance.randrange(SECOND)
        parts = [int(chance.lognormvariate(15 + part, 1)) for part in range(4)]
        common = {"gen_ai.request.id": f"req-{uuid.UUID(bytes=chance.randbytes(16))}", "flashover.attempt": 1,
                  "gen_ai.request.model": "deepseek-v3", "gen_ai.system": "vllm", "gen_ai.operation.name": "chat",
                  "flashover.cohort": chance.choice(("chat", "api", "batch")), "llm.priority": 0,
                  "flashover.tier": chance.choice(("free", "paid")), "server.address": f"10.0.0.{at % REPLICAS}",
                  "server.port": 8000, "k8s.pod.name": f"vllm-{at % REPLICAS}"}
        span = spans.add(trace_id=trace, span_id=root, name="llm_request", kind=2, start_time_unix_nano=begin,
                         end_time_unix_nano=begin + sum(parts))
        _set(span.attributes, {**common, **_figures(chance, bare), "flashover.outcome": "ok",
                               "gen_ai.usage.input_tokens": int(chance.lognormvariate(7, 1)),
                               "gen_ai.usage.output_tokens": int(chance.lognormvariate(5, 1))})
        for name, part in zip(("queue", "prefill", "kv_sync", "decode"), parts, strict=True):
            span = spans.add(trace_id=trace, span_id=chance.randbytes(8), parent_span_id=root, name=name, kind=1,
                             start_time_unix_nano=begin, end_time_unix_nano=begin + part)
            _set(span.attributes, {**common, **_figures(chance, bare)})
            begin += part
    return body.SerializeToString()


def _figures(chance: random.Random, bare: bool) -> dict[str, object]:
    """What an engine says of the moment a span began."""
    if bare:
        return {"llm.batch.size": 8}
    return {"llm.batch.size": chance.randrange(1, 64), "llm.kv.used_blocks": int(chance.gauss(20_000, 2_000)),
            "llm.scheduler.tokens": chance.randrange(8_192)}


def _set(attributes: object, values: dict[str, object]) -> None:
    for key, value in values.items():
        said = attributes.add(key=key).value  # type: ignore[attr-defined]
        if isinstance(value, str):
            said.string_value = value
        else:
            said.int_value = value


def measured(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Least CPU ms of each way, taking turns."""
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(REPEATS):
        for name, way in ways.items():
            begun = time.process_time_ns()
            way()
            least[name] = min(least[name], (time.process_time_ns() - begun) / 1e6)
    return least


def sizes(label: str, bodies: Bodies, folder: Path) -> None:
    """Print what the bodies' spans and requests take, and what reading the spans costs."""
    store = folder / label
    with Intake.open(store) as intake:
        for body in bodies:
            intake.put(*body)
    pack = zstandard.ZstdCompressor(level=1).compress
    raw = sum(len(pack(body)) for signal, body in bodies if signal == "traces")
    snapshot = read_snapshot(store)
    assert snapshot is not None
    files = {name: read_live_files(store, name, snapshot.tables[name]) for name in ("spans", "requests")}
    for name, bound in (("spans", 0.70), ("requests", 0.40)):
        size, rows = sum(file.size for file in files[name]), sum(file.rows for file in files[name])
        print(f"size     {label:8s} {name:9s} {rows:7d} rows {size / rows:7.1f} B a row {size / raw:6.2f} of zstd-1 OTLP "
              f"(at most {bound:.2f})")
    ours = [str(table_path(store, "spans") / file.path) for file in files["spans"]]
    plain = folder / f"{label}.parquet"
    rows = pa.concat_tables(pq.ParquetFile(file).read() for file in ours)
    pq.write_table(rows, plain, compression="zstd", compression_level=1)
    with open_duckdb() as connection:
        def scan(listed: list[str]) -> Callable[[], object]:
            return lambda: connection.sql(
                "SELECT name, entity, count(*), sum(end_ns - start_ns), quantile_cont(prompt_tokens, 0.9), max(span_id), "
                f"max(trace_lo), count(request_id) FROM read_parquet({listed}) GROUP BY ALL").fetchall()
        cost = measured({"ours": scan(ours), "plain": scan([str(plain)])})
    print(f"reading  {label:8s} {cost['ours']:7.1f} ms, as pyarrow encodes it {cost['plain']:7.1f}: "
          f"{cost['ours'] / cost['plain']:.2f} (at most 1.30)")


class Written:
    """A store written table by table, as the worker does, with upkeep on a clock that telemetry drives."""

    def __init__(self, path: Path) -> None:
        for folder in (path, path / "tables", path / "journal"):
            folder.mkdir(parents=True)
        write_identity(path, str(uuid.UUID(int=1)))
        self.path, self.elapsed_s = path, 0
        self.snapshot = Snapshot(str(uuid.UUID(int=1)))
        self.tables = DeltaTables(path, self.snapshot.journal)
        self.upkeep = Upkeep(open_duckdb(), self.tables, self.snapshot, UpkeepOptions(), ManualClock(START),
                             lambda: self.elapsed_s * SECOND)

    def put(self, rounds: dict[str, pa.Table]) -> None:
        """One round."""
        self.snapshot.seq += 1
        for name, rows in rounds.items():
            self.tables.append(name, rows, self.snapshot.seq)
        note_samples(self.snapshot, rounds["samples"], 1 << 62)
        self.publish()

    def publish(self) -> None:
        self.snapshot.tables = self.tables.versions()
        self.snapshot.publish(self.path)

    def keep_up(self, *, all_hours: bool = False) -> None:
        while self.upkeep.step(all_hours=all_hours):
            self.publish()


def samples(source: np.random.Generator, first_s: int, seconds: int, every_s: int) -> pa.Table:
    """Samples of all series in a window, by time."""
    times = np.repeat(np.arange(first_s, first_s + seconds, every_s, dtype=np.int64) * SECOND + START, SERIES)
    count = len(times)
    columns = {"series_id": np.tile(np.arange(SERIES, dtype=np.int64), count // SERIES), "ts_ns": times,
               "value": source.normal(100, 15, count).round(2), "frame": np.full(count, first_s + 1, np.int64)}
    return pa.table([pa.array(columns[column.name]) if column.name in columns else pa.nulls(count, column.type)
                     for column in SAMPLES.columns], schema=SAMPLES.arrow)


ROBUST = """WITH base AS (SELECT series_id, median({value}) AS middle, mad({value}) AS spread FROM {table}
    WHERE {at} >= $base AND {at} < $recent GROUP BY series_id),
recent AS (SELECT series_id, avg({value}) AS now FROM {table} WHERE {at} >= $recent GROUP BY series_id)
SELECT series_id, (now - middle) / (1.4826 * spread) AS z FROM base JOIN recent USING (series_id)
ORDER BY abs(z) DESC, series_id LIMIT 20"""


def rollups(folder: Path) -> None:
    """Print what robust z costs from minutes and from samples."""
    written, source = Written(folder / "rollups"), np.random.default_rng(1)
    for hour in range(HOURS):
        for part in range(0, 3600, 600):
            written.put({"samples": samples(source, hour * 3600 + part, 600, 1)})
        written.keep_up()
    written.keep_up(all_hours=True)
    window = {"base": START, "recent": START + (HOURS * 3600 - 600) * SECOND}
    with Store.open(written.path) as store:
        cost = measured({
            "samples": lambda: store.query(ROBUST.format(table="samples", at="ts_ns", value="value"), window),
            "minutes": lambda: store.query(ROBUST.format(table="rollups", at="minute_ns", value='"sum" / n'), window)})
        count = store.query("SELECT count(*) AS n FROM samples").column("n")[0].as_py()
    print(f"rollups  robust z of {SERIES} series, {count} samples: {cost['minutes']:.1f} ms from minutes, "
          f"{cost['samples']:.1f} from samples: 1/{cost['samples'] / cost['minutes']:.0f} (at most 1/15)")


def rounds(spans: pa.Table, commits: int) -> Iterator[dict[str, pa.Table]]:
    """Spans and samples of each quarter of a minute."""
    source = np.random.default_rng(2)
    traces = spans.column("trace_lo").to_numpy()
    begins = spans.column("start_ns").to_numpy()
    lasts = spans.column("end_ns").to_numpy() - begins
    for at in range(commits):
        starts = START + at * COMMIT_S * SECOND + (begins - begins.min()) % (COMMIT_S * SECOND)
        moved = {"start_ns": starts, "end_ns": starts + lasts, "trace_lo": traces ^ at}
        table = spans
        for name, column in moved.items():
            table = table.set_column(table.schema.get_field_index(name), name, pa.array(column, pa.int64()))
        yield {"spans": table, "samples": samples(source, at * COMMIT_S, COMMIT_S, 5)}


def newest(folder: Path) -> None:
    """Print what the newest data cost after few and after many commits."""
    spans = decode(made_bodies(random.Random(1), count=4))["spans"]
    ways: dict[str, Callable[[], object]] = {}
    live: dict[str, int] = {}
    for commits in COMMITS:
        written = Written(folder / f"newest-{commits}")
        for tables in rounds(spans, commits):
            written.put(tables)
            written.snapshot.watermark_ns = written.snapshot.sample_watermark_ns
            written.elapsed_s += COMMIT_S
            written.keep_up()
        live[str(commits)] = sum(len(written.tables.live(name)) for name in ("spans", "samples"))
        ways[str(commits)] = lambda path=written.path, since=START + (commits - 20) * COMMIT_S * SECOND: _read(path, since)
    cost = measured(ways)
    few, many = (str(commits) for commits in COMMITS)
    print(f"newest   five minutes: {cost[few]:.1f} ms after {few} commits ({live[few]} files), {cost[many]:.1f} after {many} "
          f"({live[many]} files): {cost[many] / cost[few]:.2f} (at most 1.50)")


def _read(path: Path, since_ns: int) -> None:
    with Store.open(path) as store:
        rows = store.query("SELECT count(*) AS n, quantile_cont(end_ns - start_ns, 0.99) AS p99 FROM spans "
                           "WHERE start_ns >= $since", {"since": since_ns})
        assert rows.column("n")[0].as_py() == 20 * 2000
        store.query("SELECT series_id, avg(value) AS mean FROM samples WHERE ts_ns >= $since GROUP BY series_id",
                    {"since": since_ns})


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes("engine", [body for group in make_bodies(np.random.default_rng(1)) for body in group], folder)
        sizes("fleet", [("traces", body) for body in fleet_bodies(np.random.default_rng(1), REQUESTS)], folder)
        sizes("random", made_bodies(random.Random(1)), folder)
        sizes("bare", made_bodies(random.Random(1), bare=True), folder)
        newest(folder)
        rollups(folder)


if __name__ == "__main__":
    main()
