"""OTLP logs -> rows of ``logs``, many bodies at once, by arrays; steps and control facts go through ``decode_logs``.

Fast for ordinary bodies, the official classes for the rest, as ``fast_metrics``: each body is parsed by the official classes
first, and one with anything unusual (ids of another length, no time, two values where one belongs, an event that holds
messages, texts beyond the limits) goes whole through them, in its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from collectors.decode.attributes import body_text
from collectors.decode.decode_logs import LogRows
from collectors.decode.decode_steps import StepRows
from collectors.decode.log_batch import LogBatch
from collectors.decode.wire_arrow import Ints
from collectors.schema import LOGS

_LEAST_BYTES = 20_000
"""Bytes of bodies in a row below which the official classes are as fast."""

_SHORTEST = 32
"""Characters that every number has room in; with a lower limit of text all bodies take the other way."""

_Frames = Sequence[tuple[int, bytes]]


class LogBodies:
    """Collects a round's bodies; the first look at ``steps``, ``events`` or ``logs`` decodes them. ``official`` is a new
    one."""

    def __init__(self, official: LogRows, least_bytes: int = _LEAST_BYTES) -> None:
        self._official = official
        self._least_bytes = least_bytes
        self._bodies: list[tuple[int, bytes]] = []
        self._parts: list[pa.Table] = []

    @property
    def steps(self) -> StepRows:
        """The engine steps."""
        self._decode()
        return self._official.steps

    def add(self, frame: int, body: bytes) -> None:
        """Take one ExportLogsServiceRequest."""
        self._bodies.append((frame, body))

    def events(self) -> pa.Table:
        """The control facts as Arrow, schema EVENTS, sorted by time."""
        self._decode()
        return self._official.events()

    def logs(self) -> pa.Table:
        """The other records as Arrow, schema LOGS, sorted by time."""
        self._decode()
        rest = self._official.logs()
        table = pa.concat_tables([*self._parts, rest]).combine_chunks()
        times, frames = (table.column(name).combine_chunks().to_numpy() for name in ("ts_ns", "frame"))
        if (np.diff(times) >= 0).all() and (np.diff(frames) >= 0).all():
            return table
        return table.take(pa.array(np.lexsort((frames, times))))

    def _decode(self) -> None:
        bodies, self._bodies = self._bodies, []
        able = self._official.limits.value_chars >= _SHORTEST
        for good, run in groupby(bodies, lambda entry: able and _parses(entry[1])):
            self._run(list(run), good)

    def _run(self, frames: _Frames, good: bool) -> None:
        if not good or sum(len(body) for _, body in frames) < self._least_bytes:
            for frame, body in frames:
                self._official.add(frame, body)
            return
        batch = LogBatch([body for _, body in frames], self._official.emitters, self._official.limits)
        if batch.unusual.any():
            for odd, run in groupby(zip(batch.unusual.tolist(), frames, strict=True), lambda entry: entry[0]):
                self._run([frame for _, frame in run], not odd)
        else:
            self._take(batch, frames)

    def _take(self, batch: LogBatch, frames: _Frames) -> None:
        """Take ordinary bodies: what it changes is what the official classes would change."""
        official = self._official
        more = self._special(batch, frames)
        for emitter, times in zip(batch.emitters, np.bincount(batch.emitter_of, minlength=len(batch.emitters)).tolist(),
                                  strict=True):
            for reason, count in emitter.drops.items():
                official.drops[reason] += count * times
        if batch.private:
            official.drops["prompt_text"] += batch.private
        self._edges(batch, frames, more)
        numbers = np.array([frame for frame, _ in frames], np.int64)
        entities = pa.array([emitter.entity for emitter in batch.emitters], pa.string())
        if len(batch.times):
            self._parts.append(pa.table([
                pa.array(batch.times), pa.array(batch.severities, mask=batch.severities == 0), batch.severity_texts,
                entities.take(pa.array(batch.emitter_of[batch.block_of])), batch.event_names, self._bodies_of(batch),
                *batch.ids, batch.attributes, pa.array(numbers[batch.frame_of[batch.block_of]])], LOGS.arrow))

    def _bodies_of(self, batch: LogBatch) -> pa.Array:
        """The texts; those that limits or quoted prompts may touch, and bodies that are no text, one by one."""
        if not len(batch.odd_bodies):
            return batch.body_strings
        texts = batch.body_strings.to_pylist()
        for at in batch.odd_bodies.tolist():
            name = batch.event_names[at].as_py() or ""
            texts[at] = body_text(batch.any_body(at), name, self._official.limits, self._official.drops)
        return pa.array(texts, pa.string())

    def _special(self, batch: LogBatch, frames: _Frames) -> dict[int, list[int]]:
        """Take the steps and control facts; their times by block."""
        times: dict[int, list[int]] = {}
        of_body = np.diff(batch.special_ends)
        for body in np.flatnonzero(of_body).tolist():
            frame, data = frames[body]
            places = batch.special[batch.special_ends[body] : batch.special_ends[body + 1]]
            request = ExportLogsServiceRequest.FromString(data)
            records = [record for block in request.resource_logs for scope in block.scope_logs for record in scope.log_records]
            for at, block in zip(places.tolist(), batch.special_blocks(places), strict=True):
                entity = batch.emitters[batch.emitter_of[block]].entity
                time = self._official.record(frame, records[at - int(batch.first_record[body])], entity)
                if time is not None:
                    times.setdefault(block, []).append(time)
        return times

    def _edges(self, batch: LogBatch, frames: _Frames, more: dict[int, list[int]]) -> None:
        """The edges that resources declare, seen when their records were."""
        if not any(emitter.edges for emitter in batch.emitters):
            return
        first, last = spans_of(batch.block_of, batch.times, len(batch.frame_of))
        for block, emitter in enumerate(batch.emitters[at] for at in batch.emitter_of.tolist()):
            if emitter.edges:
                times = [*more.get(block, ()), *((int(first[block]), int(last[block])) if last[block] else ())]
                self._official.edges.declared(frames[batch.frame_of[block]][0], emitter, min(times, default=0),
                                              max(times, default=0))


def spans_of(owners: Ints, times: Ints, count: int) -> tuple[Ints, Ints]:
    """First and last time of each of ``count`` owners; last 0 for one without."""
    first, last = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    np.minimum.at(first, owners, times)
    np.maximum.at(last, owners, times)
    return first, last


def _parses(body: bytes) -> bool:
    try:
        ExportLogsServiceRequest.FromString(body)
    except DecodeError:
        return False
    return True
