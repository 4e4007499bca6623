"""A body is prepared the same way wherever that is done, and JSON may not be as large as what it becomes in memory."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from running_receivers import MemoryDoor

from collectors.receive.admission import INLINE_BYTES, Admission, Bounds, Prepared
from collectors.receive.bad_request import BadRequest
from collectors.receive.unpacking import is_one_frame


def prepared(sent: bytes, encoding: str = "identity", *, as_json: bool = False) -> bytes:
    return prepare(sent, encoding, as_json=as_json).plain


def prepare(sent: bytes, encoding: str, *, as_json: bool = False) -> Prepared:
    async def once() -> Prepared:
        admission = Admission(MemoryDoor(), Bounds(wire=1 << 20, plain=1 << 22, held=1 << 22))
        try:
            return await admission.prepare("logs", sent, encoding, json=as_json)
        finally:
            admission.close()

    return asyncio.run(once())


def logs(size: int) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "x" * size
    return request


@pytest.mark.parametrize("size", [10, INLINE_BYTES - 100, INLINE_BYTES + 1])
def test_small_and_large_bodies_are_prepared_alike(size: int) -> None:
    binary = logs(size).SerializeToString()
    text = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "x" * size}}]}]}]}).encode()
    assert prepared(binary) is binary
    assert prepared(gzip.compress(binary, 0), "gzip") == prepared(text, as_json=True) == binary
    for bad, as_json in ((binary[:-1], False), (text[:-1], True)):
        with pytest.raises(BadRequest):
            prepared(bad, as_json=as_json)


@pytest.mark.parametrize("size", [300, INLINE_BYTES + 1])
def test_what_was_sent_as_one_zstd_frame_stays_packed(size: int) -> None:
    binary = logs(size).SerializeToString()
    sent = zstandard.ZstdCompressor().compress(binary)
    assert prepare(sent, "zstd") == (binary, sent)
    half = len(binary) // 2
    several = b"".join(zstandard.ZstdCompressor().compress(part) for part in (binary[:half], binary[half:]))
    empty = zstandard.ZstdCompressor(write_content_size=True).compress(b"")
    short = logs(1).SerializeToString()
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(binary)
    assert [prepare(other, "zstd") for other in (several, unsized, empty + sent)] == [(binary, b"")] * 3
    assert prepare(gzip.compress(binary), "gzip") == prepare(binary, "identity") == (binary, b"")
    assert prepare(zstandard.ZstdCompressor().compress(short), "zstd") == (short, b"")  # the frame is the longer one
    assert is_one_frame(sent, binary) and not is_one_frame(sent, binary[1:]) and not is_one_frame(b"x" * 9, b"x" * 9)
    assert prepare(zstandard.ZstdCompressor().compress(b"{}"), "zstd", as_json=True) == (b"", b"")


def test_json_unpacks_to_no_more_than_may_be_sent() -> None:
    plain = b" " * (1 << 20) + b"{}"
    with pytest.raises(BadRequest) as bad:
        prepared(gzip.compress(plain), "gzip", as_json=True)
    assert bad.value.status == 413
    assert prepared(gzip.compress(plain[3:]), "gzip", as_json=True) == b""
    assert prepared(gzip.compress(logs(1 << 21).SerializeToString()), "gzip")


def test_a_body_is_one_signals_and_kept_once() -> None:
    async def twice() -> list[str]:
        admission = Admission(MemoryDoor(), Bounds(1, 1, 1))
        found = [await admission.admit("logs", Prepared(body)) for body in (b"a", b"a", b"", b"")]
        found.append(await admission.admit("traces", Prepared(b"a")))
        admission.close()
        return list(found)

    assert asyncio.run(twice()) == ["ok", "duplicate", "ok", "ok", "ok"]
