"""Typed relations between entities, as one round of decoding sees them.

Three sources. Declared: resource attributes ``flashover.edge.<kind>``, counted once for each resource block. Observed:
a span whose parent belongs to another entity is an edge from the parent's entity to its own, ``routes_to`` when its own
is a replica, else ``calls``. Retried: a span link with ``flashover.edge = retries_of`` is an edge from the attempt's
``cohort:<name>`` (the emitter itself without one) to the entity that took the retry in.
A span often comes rounds before its parent: ``SpanMemory`` keeps what later rounds need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import islice

import numpy as np
import pyarrow as pa

from collectors.decode.resources import Emitter
from collectors.decode.wire_arrow import Ints
from collectors.schema import EDGES

MEMORY_SPANS = 200_000
"""Spans remembered for parents that come later, and children that wait for them. Older pairs give no edge."""

OnPair = Callable[[str, str, int, int], None]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Spans in their order of arrival, as arrays: frame, ids (a parent of 0 is none), the entity's code, start in ns."""

    frame: Ints
    span_id: Ints
    parent_id: Ints
    entity: Ints
    start_ns: Ints

    def among(self, others: Arrivals) -> Arrivals:
        """Both, in the order of their frames; no frame is in both."""
        frame = np.concatenate([self.frame, others.frame])
        order = np.argsort(frame, kind="stable")
        pairs = ((getattr(self, field.name), getattr(others, field.name)) for field in fields(self))
        return Arrivals(*(np.concatenate(pair)[order] for pair in pairs))


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

    def knows_any(self, span_ids: Iterable[int]) -> bool:
        """Whether a span of one of these ids came in an earlier round."""
        return not self._entities.keys().isdisjoint(span_ids)

    def take(self, entities: dict[int, str], orphans: Sequence[tuple[int, str, int]]) -> tuple[
            list[tuple[str, int, int]], list[str | None]]:
        """Take a round's spans, whose ids are new and distinct: span id -> entity, and those whose parent is not among
        them: (parent id, entity, start). Returns the children that waited for one of the spans, as (entity, start, span
        id), and for each orphan its parent's entity, None when it has to wait."""
        found = [(child, start_ns, span_id) for span_id in self._waiting.keys() & entities.keys()
                 for child, start_ns in self._waiting.pop(span_id)]
        parents = [self._entities.get(parent_id) for parent_id, _, _ in orphans]
        for (parent_id, entity, start_ns), parent in zip(orphans, parents, strict=True):
            if parent is None:
                self._waiting.setdefault(parent_id, []).append((entity, start_ns))
        self._entities.update(entities)
        return found, parents

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
        self._codes: dict[str, int] = {}
        self._names: list[str] = []

    def code(self, entity: str | None) -> int:
        """A small number for an entity, -1 for none; the same within this round."""
        if entity is None:
            return -1
        code = self._codes.get(entity)
        if code is None:
            code = self._codes[entity] = len(self._names)
            self._names.append(entity)
        return code

    def name(self, code: int) -> str | None:
        """The entity of a code."""
        return self._names[code] if code >= 0 else None

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

    def join(self, spans: Arrivals) -> None:
        """As ``spans``, for all of a round at once: parents are looked up among the round's spans, then in the memory."""
        some = spans.entity >= 0
        frame, ids, parent_ids = spans.frame[some], spans.span_id[some], spans.parent_id[some]
        entity, start_ns = spans.entity[some], spans.start_ns[some]
        names = np.array(self._names, object)
        entities = dict(zip(ids.tolist(), names[entity].tolist(), strict=True))
        if len(entities) < len(ids) or self._memory.knows_any(entities):
            self.spans(zip(frame.tolist(), ids.tolist(), [parent or None for parent in parent_ids.tolist()],
                           names[entity].tolist(), start_ns.tolist(), strict=True))
            return
        by_id = np.argsort(ids)
        children = np.flatnonzero(parent_ids)
        places = np.searchsorted(ids, parent_ids[children], sorter=by_id)
        parents = by_id[np.minimum(places, len(ids) - 1)] if len(ids) else places
        here = ids[parents] == parent_ids[children]
        alone = children[~here]
        self._pairs(entity[parents[here]], entity[children[here]], start_ns[children[here]],
                    np.maximum(frame[parents[here]], frame[children[here]]))
        orphans = list(zip(parent_ids[alone].tolist(), names[entity[alone]].tolist(), start_ns[alone].tolist(), strict=True))
        waited, found = self._memory.take(entities, orphans)
        for (_, child, start), parent, at in zip(orphans, found, frame[alone].tolist(), strict=True):
            if parent is not None:
                self._pair(parent, child, start, at)
        if waited:
            frame_of = dict(zip(ids.tolist(), frame.tolist(), strict=True))
            for child, start, span_id in waited:
                self._pair(entities[span_id], child, start, frame_of[span_id])

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

    def _pair(self, parent: str, child: str, first_ns: int, frame: int) -> None:
        if parent != child:
            self._see(parent, child, _kind(child), first_ns, first_ns, frame)

    def _pairs(self, parents: Ints, children: Ints, start_ns: Ints, frame: Ints) -> None:
        """As ``_pair``, for arrays; each relation is seen as often as it occurs."""
        wanted = (parents != children) & (frame > self._after)
        codes, start_ns, frame = parents[wanted] * len(self._names) + children[wanted], start_ns[wanted], frame[wanted]
        if not len(codes):
            return
        order = np.argsort(codes, kind="stable")
        begins = np.flatnonzero(np.diff(codes[order], prepend=-1))
        firsts, lasts = np.minimum.reduceat(start_ns[order], begins), np.maximum.reduceat(start_ns[order], begins)
        frames, counts = np.maximum.reduceat(frame[order], begins), np.diff(begins, append=len(order))
        for at, *seen in zip(begins.tolist(), firsts.tolist(), lasts.tolist(), frames.tolist(), counts.tolist(), strict=True):
            parent, child = divmod(int(codes[order[at]]), len(self._names))
            self._see(self._names[parent], self._names[child], _kind(self._names[child]), *seen)

    def _see(self, src: str, dst: str, kind: str, first_ns: int, last_ns: int, frame: int, times: int = 1) -> None:
        if frame <= self._after:
            return
        seen = self._edges.get((src, dst, kind))
        if seen is None:
            self._edges[src, dst, kind] = [first_ns, last_ns, times, frame]
            return
        seen[:] = min(seen[0], first_ns), max(seen[1], last_ns), seen[2] + times, max(seen[3], frame)


def _kind(child: str) -> str:
    return "routes_to" if child.startswith("replica:") else "calls"
