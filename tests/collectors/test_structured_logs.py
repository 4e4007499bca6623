"""The log of a running collector: one object a line, repeats counted, nothing that a sender wrote."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.clock import ManualClock
from collectors.errors import BadInput
from collectors.service.structured_logs import EventLog, Field

PROMPT = "my password is hunter2"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Elapsed:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
            for line in stream.getvalue().splitlines()]


def refused_with(text: str) -> ValueError:
    """An error as a parser raises it."""
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_an_event_is_one_object() -> None:
    stream = io.StringIO()
    with EventLog(stream, ManualClock(1_774_791_300_000_000_000)) as log:
        log.info("ready", http="127.0.0.1:4318", frames=3)
        log.warning("worker_restarted", error=BadInput("x.toml: a is no number"))
        log.error("disk_full")
    at = "2026-03-29T13:35:00.000Z"
    assert lines(stream) == [
        {"ts": at, "level": "info", "event": "ready", "fields": {"http": "127.0.0.1:4318", "frames": 3}},
        {"ts": at, "level": "warning", "event": "worker_restarted", "fields": {"error": "x.toml: a is no number"}},
        {"ts": at, "level": "error", "event": "disk_full", "fields": {}},
    ]


def test_a_terminal_gets_plain_text_without_control_characters() -> None:
    stream = Terminal()
    with EventLog(stream, ManualClock(1_774_791_300_000_000_000)) as log:
        log.info("ready", http="a:1", note="\x1b[2J\nb")
    assert stream.getvalue() == '2026-03-29T13:35:00.000Z info    ready http="a:1" note="\\u001b[2J\\nb"\n'


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.none() | st.booleans() | st.integers() | st.floats() | st.text()))
@settings(max_examples=60)
def test_whatever_the_fields_hold_a_line_is_one_json_object(fields: dict[str, Field]) -> None:
    stream = io.StringIO()
    with EventLog(stream, ManualClock()) as log:
        log.info("event", **fields)
    (line,) = lines(stream)
    assert stream.getvalue().count("\n") == 1 and stream.getvalue().isascii()
    for name, value in fields.items():
        shown = line["fields"][name]
        if isinstance(value, str):
            assert shown == value[:500]
        elif isinstance(value, float):
            assert shown == value or shown == str(value)
        else:
            assert shown == value


@given(st.lists(st.tuples(st.sampled_from(["full", "late", "dead"]), st.floats(0, 8)), max_size=60))
@settings(max_examples=60)
def test_every_event_is_written_or_counted_and_none_twice_in_ten_seconds(events: list[tuple[str, float]]) -> None:
    stream, elapsed, told, at = io.StringIO(), Elapsed(), Counter[str](), dict[str, float]()
    with EventLog(stream, ManualClock(), repeat_s=10, elapsed_s=elapsed) as log:
        for name, pause_s in events:
            elapsed.now_s += pause_s
            log.warning(name, at=elapsed.now_s)
    for line in lines(stream):
        name, fields = line["event"], line["fields"]
        told[name] += ("at" in fields) + fields.get("suppressed", 0)
        if "at" in fields:
            assert fields["at"] - at.get(name, -10) >= 10
            at[name] = fields["at"]
    assert told == Counter(name for name, _ in events)


def test_a_repeat_says_how_many_were_held_back_and_so_does_the_end() -> None:
    stream, elapsed = io.StringIO(), Elapsed()
    with EventLog(stream, ManualClock(), repeat_s=10, elapsed_s=elapsed) as log:
        for _ in range(4):
            log.warning("disk_full", free=1)
        elapsed.now_s = 10
        log.warning("disk_full", free=2)
        log.warning("disk_full", free=3)
        elapsed.now_s = 20
        log.info("ready")
        log.warning("disk_full", free=4)
        log.warning("disk_full", free=5)
    assert [(line["event"], line["fields"]) for line in lines(stream)] == [
        ("disk_full", {"free": 1}), ("disk_full", {"free": 2, "suppressed": 3}), ("ready", {}),
        ("disk_full", {"suppressed": 1}), ("disk_full", {"free": 4}), ("disk_full", {"suppressed": 1})]


@pytest.mark.parametrize("name", ["uvicorn.error", "asyncio", "grpc._cython.cygrpc", "some.library"])
def test_libraries_are_heard_without_what_they_quote(name: str) -> None:
    stream = io.StringIO()
    with EventLog(stream, ManualClock()):
        try:
            raise refused_with(PROMPT)
        except ValueError:
            logging.getLogger(name).exception("Invalid request %s", PROMPT)
    (line,) = lines(stream)
    assert "hunter2" not in stream.getvalue()
    assert line["event"] == "library" and line["level"] == "error"
    assert line["fields"]["logger"] == name and line["fields"]["place"].startswith("test_structured_logs.py:")
    assert line["fields"]["error"].startswith("ValueError at test_structured_logs.py:")
    assert line["fields"].get("text") == (None if name == "some.library" else "Invalid request %s")


def test_arguments_that_asyncio_quotes_are_cut_off() -> None:
    stream = io.StringIO()
    with EventLog(stream, ManualClock()):
        logging.getLogger("asyncio").error(f"Exception in callback take('{PROMPT}')\nhandle: {PROMPT}")
    assert lines(stream)[0]["fields"]["text"] == "Exception in callback take"
    assert "hunter2" not in stream.getvalue()


def test_errors_that_are_not_ours_are_told_without_their_message() -> None:
    stream = io.StringIO()
    with EventLog(stream, ManualClock()) as log:
        log.error("decode_failed", error=refused_with(PROMPT))
        log.error("never_raised", error=KeyError(PROMPT))
    first, second = lines(stream)
    assert "hunter2" not in stream.getvalue()
    assert first["fields"]["error"].startswith("ValueError at test_structured_logs.py:")
    assert second["fields"]["error"] == "KeyError"


def test_libraries_chatter_below_warning_is_not_heard() -> None:
    stream = io.StringIO()
    with EventLog(stream, ManualClock()):
        logging.getLogger("uvicorn.access").info("GET /health 200")
    assert stream.getvalue() == ""


def test_a_stream_that_is_gone_stops_nothing() -> None:
    stream = io.StringIO()
    with EventLog(stream, ManualClock()) as log:
        stream.close()
        log.info("ready")
        log.info("other")
        assert log.unwritten == 2


def test_after_its_context_the_log_hears_nothing() -> None:
    stream = io.StringIO()
    with EventLog(stream, ManualClock()) as log:
        pass
    logging.getLogger("asyncio").error("later")
    assert stream.getvalue() == "" and log not in logging.getLogger().handlers


def test_threads_do_not_tear_lines() -> None:
    stream = io.StringIO()
    with EventLog(stream, ManualClock(), repeat_s=0) as log:
        threads = [threading.Thread(target=lambda at=at: [log.info("event", thread=at) for _ in range(50)]) for at in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert Counter(line["fields"]["thread"] for line in lines(stream)) == dict.fromkeys(range(8), 50)
    assert sys.stderr is not stream
