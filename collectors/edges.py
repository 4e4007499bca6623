"""Typed relations between entities, as one round of decoding sees them.

Three sources. Declared: resource attributes ``flashover.edge.<kind>``, counted once for each resource block. Observed:
a span whose parent belongs to another entity is an edge from the parent's entity to its own, ``routes_to`` when its own
is a replica, else ``calls``. Retried: a span link with ``flashover.edge = retries_of`` is an edge from the attempt's
``cohort:<name>`` (the emitter itself without one) to the entity that took the retry in.
A span often comes rounds before its parent: ``SpanMemory`` keeps what later rounds need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import pyarrow as pa

from collectors.resources import Emitter
from collectors.schema import EDGES

MEMORY_SPANS = 200_000
"""Spans remembered for parents that come later, and children that wait for them. Older pairs give no edge."""

OnPair = Callable[[str, str, int, int], None]


class SpanMemory:
    """Entities of recent spans by span id, and spans that wait for their parent."""

    def __init__(self) -> None:
        self._entities: dict[int, str] = {}
        self._waiting: dict[int, list[tuple[str, int]]] = {}

    def meet(self, frame: int, span_id: int, parent_id: int | None, entity: str | None, start_ns: int,
             on_pair: OnPair) -> None:
        """Take one span; call ``on_pair(parent's entity, child's entity, child's start, frame)`` for pairs it closes."""
        if entity is None:
            return
        self._entities[span_id] = entity
        for child, child_start in self._waiting.pop(span_id, ()):
            on_pair(entity, child, child_start, frame)
        if parent_id is None:
            return
        parent = self._entities.get(parent_id)
        if parent is None:
            self._waiting.setdefault(parent_id, []).append((entity, start_ns))
        else:
            on_pair(parent, entity, start_ns, frame)

    def trim(self) -> None:
        """Forget the oldest spans beyond ``MEMORY_SPANS``."""
        for known in (self._entities, self._waiting):
            for key in list(islice(known, max(0, len(known) - MEMORY_SPANS))):
                del known[key]


class EdgeRows:
    """Collects a round's edges from frames above ``after`` (the last frame that the table has already)."""

    def __init__(self, memory: SpanMemory, after: int) -> None:
        self._memory = memory
        self._after = after
        self._edges: dict[tuple[str, str, str], list[int]] = {}

    def declared(self, frame: int, emitter: Emitter, first_ns: int, last_ns: int) -> None:
        """The edges that a resource declares, seen with records from ``first_ns`` to ``last_ns``; 0: with none."""
        if emitter.entity is None or not last_ns:
            return
        for kind, dst in emitter.edges:
            self._see(emitter.entity, dst, kind, first_ns, last_ns, frame)

    def spans(self, rows: Iterable[tuple[int, int, int | None, str | None, int]]) -> None:
        """Edges of (frame, span id, parent id, entity, start in ns), in the order of the frames."""
        for frame, span_id, parent_id, entity, start_ns in rows:
            self._memory.meet(frame, span_id, parent_id, entity, start_ns, self._pair)

    def retried(self, frame: int, cohort: str | None, entity: str | None, start_ns: int) -> None:
        """One retry, taken in by ``entity`` at ``start_ns``."""
        if entity is not None:
            self._see(f"cohort:{cohort}" if cohort else entity, entity, "retries_of", start_ns, start_ns, frame)

    def table(self) -> pa.Table:
        """The edges as Arrow, schema EDGES, in the order of kind, src and dst."""
        rows = sorted((kind, src, dst, *seen) for (src, dst, kind), seen in self._edges.items())
        columns = list(zip(*rows, strict=True)) or [()] * 7
        kinds, src, dst, first, last, count, frame = columns
        return pa.table([src, dst, kinds, first, last, count, frame], EDGES.arrow)

    def _pair(self, parent: str, child: str, start_ns: int, frame: int) -> None:
        if parent != child:
            kind = "routes_to" if child.startswith("replica:") else "calls"
            self._see(parent, child, kind, start_ns, start_ns, frame)

    def _see(self, src: str, dst: str, kind: str, first_ns: int, last_ns: int, frame: int) -> None:
        if frame <= self._after:
            return
        seen = self._edges.get((src, dst, kind))
        if seen is None:
            self._edges[src, dst, kind] = [first_ns, last_ns, 1, frame]
            return
        seen[:] = min(seen[0], first_ns), max(seen[1], last_ns), seen[2] + 1, max(seen[3], frame)
