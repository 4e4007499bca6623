"""google.rpc.Status, the body of every answer that is no success, as protobuf and as JSON.

Written by hand: three fields do not earn the core a package of all of Google's messages, which tests have as the oracle.
"""

from __future__ import annotations

import json

_RETRY_INFO = b"type.googleapis.com/google.rpc.RetryInfo"


def status_protobuf(code: int, message: str, retry_after_s: int | None = None) -> bytes:
    """Status in protobuf's binary form; with ``retry_after_s`` a google.rpc.RetryInfo of so many seconds is its detail."""
    status = b"\x08" + _varint(code) if code else b""
    status += _field(2, message.encode("utf-8", "replace")) if message else b""
    if retry_after_s is not None:
        delay = b"\x08" + _varint(retry_after_s) if retry_after_s else b""
        status += _field(3, _field(1, _RETRY_INFO) + _field(2, _field(1, delay)))
    return status


def status_json(code: int, message: str) -> bytes:
    """Status in protobuf's JSON form."""
    return json.dumps({"code": code, "message": message}).encode()


def _field(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
