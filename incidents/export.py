"""Telemetry over the network: a Sink that sends bodies to a collector, as OTLP over HTTP has it.

One body at a time, in order, over one connection that is kept. What OTLP calls retryable (429, 502, 503, 504, and no answer
at all) is sent again after the time that the collector asks for, else after an exponential back-off with jitter. A body
whose answer got lost is sent twice; a collector of Flashover knows it again and keeps it once.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Self

import httpx
import zstandard
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from collectors.clock import Clock, SystemClock
from collectors.errors import BadInput, FlashoverError
from collectors.sink import Signal

PATIENCE_S, FIRST_PATIENCE_S = 300.0, 20.0
"""How long one body is tried: the first one less, as nobody may be there at all."""
RETRYABLE = frozenset({429, 502, 503, 504})
_BACK_OFF_S, _MOST_BACK_OFF_S = 0.5, 32.0
_TIMEOUT = httpx.Timeout(30, connect=10)
_HEADERS = {"content-type": "application/x-protobuf", "content-encoding": "zstd", "user-agent": "flashover-replay"}
_ANSWERS: Mapping[Signal, Any] = {"traces": ExportTraceServiceResponse, "metrics": ExportMetricsServiceResponse,
                                  "logs": ExportLogsServiceResponse}


class ExportFailed(FlashoverError):
    """The collector refused a body, or could not be reached for longer than the patience."""

    exit_code = 3


class HttpSink:
    """Sends each body to ``url`` (``http://HOST:PORT``, a path before ``/v1/traces`` may follow); a context to close it.

    ``token``: bearer token. ``on_wait`` is told, in a sentence, why the sink waits. ``refused`` counts records that the
    collector took in part only, ``because`` says why. BadInput when ``url`` is no such address. ``sleep``, ``elapsed_s``,
    ``clock`` and ``luck`` (uniform in [0, 1)) are time and chance.
    """

    def __init__(self, url: str, token: str | None = None, *, on_wait: Callable[[str], None] = lambda sentence: None,
                 sleep: Callable[[float], None] = time.sleep, elapsed_s: Callable[[], float] = time.monotonic,
                 clock: Clock | None = None, luck: Callable[[], float] = random.random) -> None:
        self.url = _checked(url)
        self.refused = 0
        self.because = ""
        self._on_wait = on_wait
        self._sleep = sleep
        self._elapsed_s = elapsed_s
        self._clock = clock or SystemClock()
        self._luck = luck
        self._patience_s = FIRST_PATIENCE_S
        self._compressor = zstandard.ZstdCompressor(level=1)
        headers = _HEADERS | ({"authorization": f"Bearer {token}"} if token else {})
        verify = ssl.create_default_context() if self.url.startswith("https") else False
        self._client = httpx.Client(headers=headers, timeout=_TIMEOUT, verify=verify, trust_env=False)

    def put(self, signal: Signal, body: bytes) -> None:
        """Send one body; the collector has made it durable when this returns. Raises ExportFailed."""
        packed, begun_s, tries = self._compressor.compress(body), self._elapsed_s(), 0
        while (problem := self._send(signal, packed)) is not None:
            why, asked_s = problem
            wait_s = self._back_off_s(tries) if asked_s is None else asked_s
            spent_s = self._elapsed_s() - begun_s
            if spent_s + wait_s > self._patience_s:
                raise ExportFailed(f"{self.url}: gave up on a body of {signal} after {tries + 1} tries in {spent_s:.0f} s, "
                                   f"the last one: {why}; start the collector there, or give another --export")
            self._on_wait(f"{self.url}: {why}; trying again in {wait_s:.1f} s")
            self._sleep(wait_s)
            tries += 1
        self._patience_s = PATIENCE_S

    def sync(self) -> None:
        """Nothing is left to do: every body is durable when ``put`` returns."""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _send(self, signal: Signal, packed: bytes) -> tuple[str, float | None] | None:
        """None when the body was taken; else why not, and after how many seconds the collector wants it again."""
        try:
            answer = self._client.post(f"{self.url}/v1/{signal}", content=packed)
        except httpx.TransportError as error:
            return f"no answer ({str(error) or type(error).__name__})", None
        if answer.status_code in RETRYABLE:
            return f"answered {_said(answer)}", self._asked_s(answer.headers.get("retry-after"))
        if not answer.is_success:
            hint = "; give the collector's token by --token-file" if answer.status_code in (401, 403) else ""
            raise ExportFailed(f"{self.url}: a body of {signal} was refused: {_said(answer)}{hint}")
        self._note_partial(signal, answer.content)
        return None

    def _note_partial(self, signal: Signal, content: bytes) -> None:
        try:
            partial = _ANSWERS[signal].FromString(content).partial_success
        except DecodeError:
            raise ExportFailed(f"{self.url}: answered /v1/{signal} with something that is not OTLP; give the address of a "
                               "collector's OTLP over HTTP") from None
        refused = sum(value for field, value in partial.ListFields() if field.name.startswith("rejected_"))
        if refused:
            self.refused += refused
            self.because = " ".join(partial.error_message.split())

    def _asked_s(self, header: str | None) -> float | None:
        """Seconds of a Retry-After header, which has seconds or a date; None when it has neither."""
        if header is None:
            return None
        if header.strip().isdecimal():
            return float(header)
        try:
            at = parsedate_to_datetime(header)
        except ValueError:
            return None
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return max(0.0, at.timestamp() - self._clock.now_ns() / 1e9)

    def _back_off_s(self, tries: int) -> float:
        return min(_MOST_BACK_OFF_S, _BACK_OFF_S * 2.0**tries) * (0.5 + 0.5 * self._luck())


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    plain = parsed.host and not (parsed.userinfo or parsed.query or parsed.fragment) and 0 < (parsed.port or 80) < 1 << 16
    if parsed.scheme not in ("http", "https") or not plain:
        raise BadInput(f"--export {url}: is no address of a collector; give http://HOST:PORT or https://HOST:PORT")
    return url.rstrip("/")


def _said(answer: httpx.Response) -> str:
    """Status code and reason. google.rpc.Status has its message where OTLP's own Status has it, in field 2."""
    message = ""
    if answer.headers.get("content-type", "").startswith("application/x-protobuf"):
        try:
            message = Status.FromString(answer.content).message
        except DecodeError:
            message = "with a body that is no google.rpc.Status"
    reason = " ".join(message.split())[:300]
    return f"{answer.status_code} {reason or answer.reason_phrase}".strip()
