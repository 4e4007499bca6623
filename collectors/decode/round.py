"""One round of decoding: bodies of several journal frames -> one Arrow table for each table of the contract."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa

from collectors.decode.decode_logs import LogRows
from collectors.decode.decode_metrics import KnownSeries, SampleRows
from collectors.decode.decode_spans import SpanRows
from collectors.decode.edges import EdgeRows, SpanMemory
from collectors.decode.fast_logs import LogBodies
from collectors.decode.fast_metrics import MetricBodies
from collectors.decode.fast_spans import FastSpans
from collectors.decode.limits import Drops, Limits
from collectors.decode.rejects import Rejects
from collectors.decode.resources import Emitters
from collectors.decode.series_state import SeriesState
from collectors.decode.stray_hours import told, without_strays
from collectors.sink import Signal

ROUND_BYTES = 24 << 20
"""Bodies of a round, after which it is full: about 50,000 spans of a serving fleet."""

_SIGNALS: dict[str, Signal] = {"spans": "traces", "samples": "metrics", "series": "metrics", "steps": "logs",
                               "events": "logs", "logs": "logs"}


class Round:
    """Decodes bodies one by one; ``tables`` ends the round. Nothing of it is seen by readers before the commits."""

    def __init__(self, emitters: Emitters, memory: SpanMemory, known: KnownSeries, state: SeriesState,
                 ignored: dict[str, int], edges_after: int, limits: Limits, drops: Drops, official: bool = False) -> None:
        self.last_frame = 0
        self._bytes = 0
        self._memory = memory
        self._rejects = Rejects(limits, drops)
        self._edges = EdgeRows(memory, edges_after)
        spans = SpanRows if official else FastSpans
        self._spans: SpanRows | FastSpans = spans(emitters, self._edges, self._rejects, limits, drops)
        samples = SampleRows(emitters, self._edges, self._rejects, known, state, limits, drops)
        self._samples: SampleRows | MetricBodies = samples if official else MetricBodies(samples)
        logs = LogRows(emitters, self._edges, self._rejects, ignored, limits, drops)
        self._logs: LogRows | LogBodies = logs if official else LogBodies(logs)

    def take(self, bodies: Iterable[tuple[int, Signal, bytes]]) -> None:
        """Take in (frame, signal, body) triples until the round is full or they end."""
        add = {"traces": self._spans.add, "metrics": self._samples.add, "logs": self._logs.add}
        with _no_collection():
            for frame, signal, body in bodies:
                add[signal](frame, body)
                self.last_frame = frame
                self._bytes += len(body)
                if self._bytes >= ROUND_BYTES:
                    return

    def refuse(self, frame: int, signal: Signal, reason: str, body: bytes) -> None:
        """Count a frame as rejected without decoding it."""
        self._rejects.add_body(frame, signal, reason, body)
        self.last_frame = frame

    def tables(self) -> dict[str, pa.Table]:
        """Table name -> rows of this round, for every table that got some."""
        with _no_collection():
            spans = self._spans.finish()
            self._memory.trim()
            tables = {"spans": spans, "samples": self._samples.samples(), "series": self._samples.series(),
                      "steps": self._logs.steps.table(), "events": self._logs.events(), "logs": self._logs.logs()}
            for name, rows in tables.items():
                tables[name], strays = without_strays(name, rows)
                for frame, reason, row in told(name, strays):
                    self._rejects.add_row(frame, _SIGNALS[name], reason, row)
            tables |= {"edges": self._edges.table(), "rejects": self._rejects.table()}
        return {name: table for name, table in tables.items() if table.num_rows}


@contextmanager
def _no_collection() -> Iterator[None]:
    """The collector of cycles rests: what decoding builds has none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
