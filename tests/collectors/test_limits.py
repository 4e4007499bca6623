"""What is beyond a limit is cut or left out and counted, each time; what is within it is untouched."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_bodies import START, attribute, traces
from sdk_bodies import decoded

from collectors.decode import resources
from collectors.decode.attributes import body_text, text_map
from collectors.decode.limits import Drops, Limits
from collectors.decode.rejects import Rejects
from collectors.decode.resources import Emitters

ASIDE = Resource(attributes=[attribute("service.name", "s")])


def span(**more: object) -> Span:
    return Span(**{"trace_id": b"\1" * 16, "span_id": b"\2" * 8, "start_time_unix_nano": START, **more})  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.text(max_size=60), st.text(max_size=60)), max_size=9), st.integers(1, 9), st.integers(16, 40))
@settings(max_examples=100)
def test_the_first_attributes_stay_and_long_texts_are_cut(pairs: list[tuple[str, str]], most: int, chars: int) -> None:
    drops = Drops()
    texts = text_map([attribute(*pair) for pair in pairs], Limits(most, chars, keep_text=True), drops)
    kept = pairs[:most]
    assert texts == {key[:chars]: value[:chars] for key, value in kept}
    assert drops["attribute_count"] == len(pairs) - len(kept)
    assert drops["text_length"] == sum(len(text) > chars for pair in kept for text in pair)


@given(st.lists(st.integers(0, 1 << 40), max_size=12), st.integers(16, 80))
@settings(max_examples=50)
def test_lists_maps_and_bodies_are_cut_as_text(numbers: list[int], chars: int) -> None:
    value, drops = AnyValue(), Drops()
    for number in numbers:
        value.array_value.values.add(int_value=number)
    whole = "[" + ",".join(map(str, numbers)) + "]" if numbers else None
    expected = None if whole is None else whole[:chars]
    assert text_map([KeyValue(key="k", value=value)], Limits(value_chars=chars), drops) == {"k": expected}
    assert body_text(value, "", Limits(body_chars=chars), drops) == expected
    assert drops["text_length"] == 2 * (whole is not None and len(whole) > chars)


def test_every_text_of_a_span_is_cut() -> None:
    """Name, status message, key, value, promoted value, names of events, and attributes of events and links."""
    long, drops = "x" * 99, Drops()
    wide = [attribute("a" + long, "b" + long), attribute("c", "d")]
    one = span(name=long, status={"message": long}, attributes=[*wide, attribute("gen_ai.request.id", long)])
    one.events.add(name=long, attributes=wide)
    one.links.add(trace_id=b"\3" * 16, span_id=b"\4" * 8, attributes=wide)
    (row,) = decoded(("traces", traces((ASIDE, [one]))), limits=Limits(value_chars=50), drops=drops)["spans"].to_pylist()
    cut = [("a" + "x" * 49, "b" + "x" * 49), ("c", "d")]
    assert (row["name"], row["status_message"], row["request_id"]) == ("x" * 50,) * 3
    assert row["attributes"] == cut and row["events"][0]["name"] == "x" * 50
    assert row["events"][0]["attributes"] == cut == row["links"][0]["attributes"]
    assert drops == {"text_length": 10}


def test_a_hundred_thousand_attributes_leave_the_first() -> None:
    drops, count = Drops(), 100_000
    many = span(attributes=[attribute(f"k{at}", at) for at in range(count)])
    (row,) = decoded(("traces", traces((ASIDE, [many]))), drops=drops)["spans"].to_pylist()
    assert [key for key, _ in row["attributes"]] == [f"k{at}" for at in range(256)]
    assert drops == {"attribute_count": count - 256}


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_what_resources_lose_is_counted_for_each_time_they_come(blocks: int) -> None:
    """Although each distinct one is read once."""
    who = Resource(attributes=[attribute("service.name", "s"), attribute("gen_ai.prompt", "secret"), attribute("k", "x" * 99)])
    expected = Counter({"prompt_text": blocks, "text_length": blocks})
    body = traces(*((who, [span(span_id=bytes([at + 1]) * 8)]) for at in range(blocks)))
    drops, limits = Drops(), Limits(value_chars=50)
    rows = decoded(("traces", body), limits=limits, drops=drops)["spans"].to_pylist()
    assert drops == expected and [row["resource"] for row in rows] == [[("k", "x" * 50)]] * blocks
    emitters, drops = Emitters(limits), Drops()
    for _ in range(blocks):
        emitters.read(who, drops)
    assert drops == expected


def test_a_cache_of_emitters_that_is_full_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "MOST_EMITTERS", 3)
    emitters = Emitters(Limits())
    found = [emitters.read_bytes(Resource(attributes=[attribute("service.name", f"s{at}")]).SerializeToString())
             for at in range(10)]
    assert len({emitter.entity for emitter in found}) == len(found)
    assert emitters.read_bytes(ASIDE.SerializeToString()).entity == "service:s"


@pytest.mark.parametrize("keep", [False, True])
def test_rejects_keep_a_record_but_for_its_text_and_no_body_that_may_hold_some(keep: bool) -> None:
    drops = Drops()
    rejects = Rejects(Limits(keep_text=keep), drops)
    rejects.add_body(2, "logs", "it is broken", b"\xffsecret")
    bad = span(attributes=[attribute("gen_ai.prompt", "secret"), attribute("k", "v")])
    rejects.add(1, "traces", ValueError("no time"), bad)
    first, second = rejects.table().to_pylist()
    assert (first["frame"], first["signal"], first["reason"]) == (1, "traces", "no time")
    assert (b"secret" in first["body"]) == keep and [a.key for a in Span.FromString(first["body"]).attributes][-1] == "k"
    assert second["body"] == (b"\xffsecret" if keep else None)
    assert second["reason"] == ("it is broken" if keep else "it is broken (7 bytes, not kept: they may hold text)")
    assert drops == ({} if keep else {"prompt_text": 2})
