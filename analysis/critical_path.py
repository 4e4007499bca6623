"""Which spans the user waited for: self times along the critical path of a trace.

Walked from the end of the root backwards, as CRISP does (Zhang et al., USENIX ATC 2022): the child that ended last held its
parent up until then; what lies between two of them is the parent's own time; then the same within each. Children are clipped
to their parents, since clocks differ and some work outlives who asked for it. CRISP leaves out what ran beside the child that
ended last; here it counts for the time before that one began, since somebody waited for something then. So self times add up
to the root's duration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Span(NamedTuple):
    """One span of a trace; ``parent_id`` None for a root. Times in ns."""

    span_id: int
    parent_id: int | None
    label: str
    start_ns: int
    end_ns: int


def critical_path(spans: Iterable[Span]) -> dict[int, int]:
    """Nanoseconds by span id on the critical path of one trace, spans that are not on it left out; they add up to the duration
    of the trace's roots, each for itself. Spans whose parent is not there belong to no root, and an id counts once."""
    roots: list[Span] = []
    below: dict[int, list[Span]] = {}
    for span in spans:
        if span.parent_id is None:
            roots.append(span)
        else:
            below.setdefault(span.parent_id, []).append(span)
    for children in below.values():
        children.sort(key=lambda child: (-child.end_ns, child.start_ns, child.span_id))
    found: dict[int, int] = {}
    for root in roots:
        _walk(root, below, found)
    return found


def _walk(root: Span, below: Mapping[int, list[Span]], found: dict[int, int]) -> None:
    """A trace may be deep, so calls to come are kept in a list: a span, and the part of it that is waited for."""
    waiting = [(root, root.start_ns, root.end_ns)]
    seen: set[int] = set()
    while waiting:
        span, start, now = waiting.pop()
        if span.span_id in seen:
            continue
        seen.add(span.span_id)
        own = 0
        for child in below.get(span.span_id, ()):
            first, last = max(child.start_ns, start), min(child.end_ns, now)
            if first >= last or child.span_id in seen:
                continue
            own += now - last
            waiting.append((child, first, last))
            now = first
        found[span.span_id] = own + now - start
