"""A real HTTP server that takes OTLP bodies in this process and answers as it was told to: also badly, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import zstandard
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass(slots=True)
class Answer:
    """How one request is answered. ``keeps``: the body counts as kept; ``says`` False: the connection closes instead."""

    status: int = 200
    keeps: bool = True
    says: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""


def refusal(status: int, reason: str, **headers: str) -> Answer:
    """An error with a google.rpc.Status, whose message lies where that of OTLP's own Status does."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, keeps=False, headers=named, content=Status(message=reason).SerializeToString())


@dataclass(slots=True)
class Listening:
    """``answers``: given in turn, then 200 for ever. ``kept``: signal and plain body of each request that counted."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    kept: list[tuple[str, bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    clients: set[Any] = field(default_factory=set)


@contextmanager
def listening() -> Iterator[Listening]:
    """Such a server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            packed = self.rfile.read(int(self.headers["content-length"]))
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            state.clients.add(self.client_address)
            answer = state.answers.pop(0) if state.answers else Answer()
            if answer.keeps:
                state.kept.append((self.path.removeprefix("/v1/"), zstandard.ZstdDecompressor().decompress(packed)))
            if not answer.says:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in ({"content-type": "application/x-protobuf"} | answer.headers).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *args: object) -> None:
            """Be silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    state = Listening(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
