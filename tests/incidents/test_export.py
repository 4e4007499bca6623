"""Sending telemetry to a collector: nothing lost and nothing out of order, whatever the network and the collector do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listening_collector import Answer, Listening, listening, refusal
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from small_fleet import scenario_file as small_scenario

from collectors.clock import ManualClock
from collectors.errors import BadInput
from collectors.receive.bearer import read_token
from collectors.sink import SIGNALS, MemorySink, Signal
from incidents.commands import replay as replay_verb
from incidents.export import FIRST_PATIENCE_S, PATIENCE_S, ExportFailed, HttpSink
from incidents.replay import play
from instrumented_engine.loading import load_scenario

NOON = 1_774_785_600
"""2026-03-29T12:00:00Z in seconds."""


@dataclass
class Patience:
    """Time that passes only by sleeping, and how long each sleep was."""

    now_s: float = 0.0
    sleeps: list[float] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.sleeps.append(seconds)

    def sink(self, url: str, token: str | None = None, luck: float = 0.5) -> HttpSink:
        return HttpSink(url, token, on_wait=self.told.append, sleep=self.sleep, elapsed_s=lambda: self.now_s,
                        clock=ManualClock(NOON * 1_000_000_000), luck=lambda: luck)


@pytest.fixture(scope="module")
def running() -> Iterator[Listening]:
    with listening() as server:
        yield server


@pytest.fixture
def server(running: Listening) -> Listening:
    for told in (running.answers, running.kept, running.headers, running.clients):
        told.clear()
    return running


ODD_ANSWERS = st.sampled_from([
    refusal(429, "full", retry_after="1"), refusal(502, "gateway"), refusal(503, "disk full", retry_after="0"),
    refusal(504, "late"), Answer(keeps=True, says=False), Answer(keeps=False, says=False)])
BODIES = st.lists(st.tuples(st.sampled_from(SIGNALS), st.binary(max_size=40)), max_size=6, unique=True)


@given(BODIES, st.lists(ODD_ANSWERS, max_size=5))
@settings(max_examples=40)
def test_every_body_arrives_in_order_and_again_only_when_its_answer_got_lost(
    running: Listening, bodies: list[tuple[Signal, bytes]], answers: list[Answer]
) -> None:
    running.answers[:], running.kept[:] = answers, []
    lost = sum(answer.keeps for answer in answers)
    with Patience().sink(running.url) as sink:
        for body in bodies:
            sink.put(*body)
        sink.sync()
    left = sum(answer.keeps for answer in running.answers)
    assert [body for body, _ in groupby(running.kept)] == bodies
    assert len(running.kept) == len(bodies) + lost - left


def test_one_connection_carries_zstd_with_the_token(server: Listening) -> None:
    with Patience().sink(server.url + "/", "s3cret") as sink:
        for number in range(5):
            sink.put("metrics", b"x" * number)
    assert server.kept == [("metrics", b"x" * number) for number in range(5)]
    assert len(server.clients) == 1
    for headers in server.headers:
        assert headers["content-type"] == "application/x-protobuf"
        assert headers["content-encoding"] == "zstd"
        assert headers["authorization"] == "Bearer s3cret"


def test_without_a_token_none_is_sent(server: Listening) -> None:
    with Patience().sink(server.url) as sink:
        sink.put("logs", b"")
    assert "authorization" not in server.headers[0]


@pytest.mark.parametrize(("header", "seconds"), [
    ("7", 7), ("0", 0), (" 3 ", 3), ("Sun, 29 Mar 2026 12:00:09 GMT", 9), ("Sun, 29 Mar 2026 11:00:00 GMT", 0),
    ("Sun, 29 Mar 2026 12:00:05 -0000", 5)])
def test_the_collector_says_when_to_come_back(server: Listening, header: str, seconds: float) -> None:
    server.answers[:] = [refusal(503, "disk full", retry_after=header)]
    patience = Patience()
    with patience.sink(server.url) as sink:
        sink.put("traces", b"a")
    assert patience.sleeps == [seconds]
    assert patience.told == [f"{server.url}: answered 503 disk full; trying again in {seconds:.1f} s"]


@pytest.mark.parametrize("header", ["soon", "-1", "1.5", "", None])
def test_else_it_backs_off_longer_each_time_and_never_beyond_a_bound(server: Listening, header: str | None) -> None:
    headers = {} if header is None else {"retry_after": header}
    for luck, factor in ((0.0, 0.5), (1.0, 1.0)):
        patience = Patience()
        server.answers[:] = [Answer()] + [refusal(429, "full", **headers) for _ in range(9)]
        with patience.sink(server.url, luck=luck) as sink:
            sink.put("traces", b"a")
            sink.put("traces", b"b")
        assert patience.sleeps == [factor * seconds for seconds in (0.5, 1, 2, 4, 8, 16, 32, 32, 32)]


def test_patience_ends_with_the_reason_and_sooner_when_nobody_was_ever_there(server: Listening) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    patience = Patience()
    with patience.sink(url) as sink, pytest.raises(ExportFailed, match=r"gave up on a body of traces after \d+ tries") as end:
        sink.put("traces", b"a")
    assert "Connection refused" in str(end.value) and "--export" in str(end.value)
    assert FIRST_PATIENCE_S / 2 < patience.now_s <= FIRST_PATIENCE_S
    patience = Patience()
    with patience.sink(server.url) as sink:
        sink.put("traces", b"a")
        server.answers[:] = [refusal(503, "disk full") for _ in range(99)]
        with pytest.raises(ExportFailed, match="503 disk full"):
            sink.put("logs", b"b")
    assert PATIENCE_S / 2 < patience.now_s <= PATIENCE_S
    assert server.kept == [("traces", b"a")]


def test_a_wait_beyond_its_patience_is_not_begun(server: Listening) -> None:
    server.answers[:] = [refusal(503, "stopping", retry_after="86400")]
    patience = Patience()
    with patience.sink(server.url) as sink, pytest.raises(ExportFailed, match="503 stopping"):
        sink.put("traces", b"a")
    assert patience.sleeps == []


@pytest.mark.parametrize(("answer", "part"), [
    (refusal(400, "field 3 is no string"), "a body of traces was refused: 400 field 3 is no string"),
    (refusal(401, "wrong token"), "401 wrong token; give the collector's token by --token-file"),
    (refusal(413, "64 MB is too large"), "413 64 MB is too large"),
    (Answer(404, keeps=False, headers={"content-type": "text/html"}, content=b"<h1>none</h1>"), "404 Not Found"),
    (Answer(400, keeps=False, content=b"\xff\xff"), "400 with a body that is no google.rpc.Status"),
    (Answer(500, keeps=False), "500 Internal Server Error"),
    (Answer(301, keeps=False, headers={"location": "http://192.0.2.1/"}), "301 Moved Permanently"),
    (Answer(200, content=b"<html>"), "with something that is not OTLP"),
])
def test_what_is_final_is_not_tried_again(server: Listening, answer: Answer, part: str) -> None:
    server.answers[:] = [answer]
    patience = Patience()
    with patience.sink(server.url) as sink, pytest.raises(ExportFailed) as end:
        sink.put("traces", b"a")
    assert part in str(end.value) and "\n" not in str(end.value)
    assert patience.sleeps == [] and server.answers == []


def test_what_was_taken_in_part_is_counted(server: Listening) -> None:
    traces, logs = ExportTraceServiceResponse(), ExportLogsServiceResponse()
    traces.partial_success.rejected_spans = 3
    logs.partial_success.rejected_log_records = 2
    logs.partial_success.error_message = "too\nlong"
    server.answers[:] = [Answer(content=answer.SerializeToString()) for answer in (traces, logs)]
    with Patience().sink(server.url) as sink:
        sink.put("traces", b"a")
        sink.put("logs", b"b")
        assert (sink.refused, sink.because) == (5, "too long")


@pytest.mark.parametrize("url", [
    "127.0.0.1:4318", "localhost", "ftp://a:1", "http://", "http://user:password@a:1", "http://a:1?x=1", "http://a:1#x", "",
    "http://a:99999999", "http://[::1", "grpc://a:4317"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="give http://HOST:PORT"):
        HttpSink(url)


@pytest.mark.parametrize(("content", "token"), [(b"s3cret\n", "s3cret"), (b"  a-b_c=\r\n", "a-b_c=")])
def test_a_token_is_one_line(tmp_path: Path, content: bytes, token: str) -> None:
    (tmp_path / "token").write_bytes(content)
    assert read_token(str(tmp_path / "token"), "--token-file ") == token


@pytest.mark.parametrize("content", [b"", b"\n", b"a b", b"a\nb\n", b"\xff", "ü".encode(), b"a\x00b", None])
def test_a_token_file_that_holds_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=f"--token-file {path}"):
        read_token(str(path), "--token-file ")
    assert read_token("", "--token-file ") == ""


@pytest.fixture(scope="module")
def scenario_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_scenario(tmp_path_factory.mktemp("scenario"), requests=120, trace_s=55, duration_s=60)


def test_a_replay_sends_the_very_bodies_that_fill_a_store(
    scenario_file: Path, server: Listening, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    memory = MemorySink()
    played = play(load_scenario(scenario_file), memory)
    server.answers[:] = [Answer(), Answer(says=False), refusal(503, "disk full", retry_after="0")]
    words = [str(scenario_file), "--export", server.url, "--token-file", str(tmp_path / "token")]
    assert replay_verb.main(words) == 0
    shown = capsys.readouterr()
    assert shown.out == server.url + "\n"
    assert played.sha256 in shown.err and "503 disk full; trying again" in shown.err and "s3cret" not in shown.err
    assert len(memory.bodies) > 10
    assert [body for body, _ in groupby(server.kept)] == memory.bodies
    assert len(server.kept) == len(memory.bodies) + 1


def test_records_that_were_not_taken_are_a_finding(
    scenario_file: Path, server: Listening, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 7
    answer.partial_success.error_message = "late"
    server.answers[:] = [Answer(content=answer.SerializeToString())]
    assert replay_verb.main([str(scenario_file), "--export", server.url]) == 1
    assert "the collector refused 7 records: late" in capsys.readouterr().err


@pytest.mark.parametrize("words", [
    [], ["--out", "X", "--export", "http://127.0.0.1:1"], ["--token-file", "X"], ["--out", "X", "--token-file", "X"]])
def test_a_replay_goes_to_one_place(
    scenario_file: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert replay_verb.main([str(scenario_file), *words]) == 2
    assert "give one of --out STORE and --export URL" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_collector_that_refuses_ends_the_replay_at_once_in_one_line(
    scenario_file: Path, server: Listening, capfd: pytest.CaptureFixture[str]
) -> None:
    server.answers[:] = [refusal(401, "this collector wants a token")]
    assert replay_verb.main([str(scenario_file), "--export", server.url]) == 3
    shown = capfd.readouterr()
    assert "401 this collector wants a token; give the collector's token by --token-file" in shown.err
    assert len(shown.err.splitlines()) == 1 and shown.err.startswith(f"flashover replay: {server.url}: a body of")
    assert shown.out == "" and server.kept == [] and len(server.headers) == 1
