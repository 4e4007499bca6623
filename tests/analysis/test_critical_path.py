"""Self times on the critical path: they add up to the root, ask nothing of an order, and are what walking back shows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from analysis.critical_path import Span, critical_path


@st.composite
def traces(draw: st.DrawFn) -> list[Span]:
    """A root from 0 to 20 and children of whatever times, some of which begin before their parents or outlive them."""
    spans = [Span(0, None, "root", 0, 20)]
    for span_id in range(1, draw(st.integers(0, 8)) + 1):
        start = draw(st.integers(-4, 23))
        spans.append(Span(span_id, draw(st.integers(0, span_id - 1)), f"s{span_id}", start, start + draw(st.integers(1, 14))))
    return spans


def walked_back(spans: list[Span]) -> dict[int, int]:
    """The same a nanosecond at a time: who is waited for just before ``now``."""
    root = spans[0]
    spent = {root.span_id: 0}
    stack, used = [(root, root.start_ns)], {root.span_id}
    now = root.end_ns
    while stack:
        span, start = stack[-1]
        if now <= start:
            stack.pop()
            continue
        below = [one for one in spans if one.parent_id == span.span_id and one.span_id not in used]
        below = [one for one in below if one.end_ns >= now and max(one.start_ns, start) < now]
        if below:
            child = min(below, key=lambda one: (-one.end_ns, one.start_ns, one.span_id))
            used.add(child.span_id)
            spent[child.span_id] = 0
            stack.append((child, max(child.start_ns, start)))
            continue
        spent[span.span_id] += 1
        now -= 1
    return spent


@given(traces())
def test_self_times_are_what_walking_back_shows_and_add_up_to_the_root(spans: list[Span]) -> None:
    found = critical_path(spans)
    assert sum(found.values()) == 20 and min(found.values()) >= 0
    assert found == walked_back(spans)


@given(traces(), st.randoms(use_true_random=False))
def test_the_order_of_spans_says_nothing(spans: list[Span], luck: object) -> None:
    shuffled = list(spans)
    luck.shuffle(shuffled)  # type: ignore[attr-defined]
    assert critical_path(shuffled) == critical_path(spans)


def test_a_child_is_clipped_and_siblings_side_by_side_count_once() -> None:
    spans = [
        Span(1, None, "root", 0, 100), Span(2, 1, "last", 60, 150), Span(3, 1, "beside", 20, 80), Span(4, 9, "orphan", 0, 90),
        Span(5, 2, "within", 10, 70),
    ]  # fmt: skip
    assert critical_path(spans) == {1: 20, 2: 30, 3: 40, 5: 10}
