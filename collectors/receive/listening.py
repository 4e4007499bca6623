"""Both receivers on their addresses, started and stopped together in one event loop. Signals are left to the caller."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import grpc
from uvicorn import Config
from uvicorn.server import ServerState

from collectors.errors import BadInput
from collectors.receive.admission import Admission, Bounds
from collectors.receive.bearer import Bearer
from collectors.receive.door import Door
from collectors.receive.grpc_receiver import GrpcReceiver
from collectors.receive.http_connection import HttpConnection
from collectors.receive.http_receiver import HttpReceiver
from collectors.receive.receiver_options import ReceiverOptions
from collectors.service.own_metrics import OwnMetrics
from collectors.service.vitals import Vitals

KEEP_ALIVE_S = 75
"""Seconds for which an idle HTTP connection is kept: longer than senders wait between two exports."""
_DATE_S = 1.0
_PARTING_S = 0.2
"""Seconds for requests to notice that their client was cut off."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the receivers are, ``host:port`` with the real port; None for one that is off. ``warnings``: a sentence each."""

    http: str | None
    grpc: str | None
    warnings: tuple[str, ...]


class Receivers:
    """OTLP over HTTP and gRPC in front of one door, with /metrics and /health. To be started once."""

    def __init__(self, door: Door, metrics: OwnMetrics, vitals: Callable[[], Vitals], options: ReceiverOptions) -> None:
        self._options = options
        self._metrics = metrics
        self._admission = Admission(door, Bounds(options.max_body, options.max_plain, options.max_held))
        bearer = Bearer(options.token)
        self._http_app = HttpReceiver(self._admission, metrics, vitals, bearer, options.read_timeout_s)
        self._grpc_app = GrpcReceiver(self._admission, metrics, bearer, options.read_timeout_s)
        self._state = ServerState()
        self._http: asyncio.Server | None = None
        self._grpc: Any = None
        self._date: asyncio.TimerHandle | None = None

    async def start(self) -> Addresses:
        """Listen. Raises BadInput, naming the setting, when an address or TLS cannot be used; then nothing listens."""
        options = self._options
        warnings = list(options.warnings)
        try:
            http = options.http and await self._start_http(options.http, warnings)
            grpc_address = options.grpc and await self._start_grpc(options.grpc, warnings)
        except BaseException:
            await self.stop(0)
            raise
        return Addresses(http, grpc_address, tuple(warnings))

    async def stop(self, grace_s: float) -> None:
        """Take no new request at once, let those that are here end for ``grace_s`` seconds, then cut them off."""
        await asyncio.gather(self._stop_http(grace_s), self._stop_grpc(grace_s))
        self._admission.close()

    @property
    def connections(self) -> Collection[object]:
        """The HTTP connections that are open."""
        return self._state.connections

    async def _start_http(self, address: str, warnings: list[str]) -> str:
        options = self._options
        tls = options.tls()
        bound = _bind("collect.http", address)
        warnings += self._exposed("collect.http", bound)
        config = Config(self._http_app, interface="asgi3", lifespan="off", ws="none", log_config=None, access_log=False,
                        proxy_headers=False, server_header=False, timeout_keep_alive=KEEP_ALIVE_S)
        config.load()
        self._set_date()

        def connection() -> HttpConnection:
            return HttpConnection(config, self._state, self._metrics, options.read_timeout_s, options.max_connections)

        self._http = await asyncio.get_running_loop().create_server(
            connection, sock=bound, ssl=tls, backlog=1024, ssl_handshake_timeout=options.read_timeout_s if tls else None)
        return _said(bound)

    def _set_date(self) -> None:
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        self._date = asyncio.get_running_loop().call_later(_DATE_S, self._set_date)

    async def _start_grpc(self, address: str, warnings: list[str]) -> str:
        options = self._options
        options.tls()
        with _bind("collect.grpc", address) as probe:  # gRPC binds itself, and says nothing of use when it cannot
            warnings += self._exposed("collect.grpc", probe)
            host, port = probe.getsockname()[:2]
        server = self._grpc_app.server(options.max_connections)
        target = f"{f'[{host}]' if ':' in host else host}:{port}"
        try:
            if options.tls_cert and options.tls_key:
                pair = (options.tls_key.read_bytes(), options.tls_cert.read_bytes())
                server.add_secure_port(target, grpc.ssl_server_credentials([pair]))
            else:
                server.add_insecure_port(target)
        except RuntimeError as error:
            raise BadInput(f"collect.grpc: {address}: cannot be listened on: {error}; give another with --grpc") from None
        self._grpc = server
        await server.start()
        return target

    async def _stop_http(self, grace_s: float) -> None:
        if self._date is not None:
            self._date.cancel()
        if self._http is None:
            return
        self._http.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=grace_s)
        while self._state.connections:
            for connection in list(self._state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=_PARTING_S)
        for task in list(self._state.tasks):
            task.cancel()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks)
        await self._http.wait_closed()

    async def _stop_grpc(self, grace_s: float) -> None:
        if self._grpc is not None:
            await self._grpc.stop(grace_s)

    def _exposed(self, setting: str, bound: socket.socket) -> list[str]:
        """What is unwise about who can reach this address."""
        host = bound.getsockname()[0]
        missing = [name for name, given in (("a token", self._options.token), ("TLS", self._options.tls_cert)) if not given]
        if ipaddress.ip_address(host.partition("%")[0]).is_loopback or not missing:
            return []
        fixes = {"a token": "--token-file", "TLS": "--tls-cert and --tls-key"}
        said = (f"{setting}: {_said(bound)} can be reached from other machines without {' and without '.join(missing)}; "
                f"give {' and '.join(fixes[name] for name in missing)}, or listen on 127.0.0.1")
        return [said]


_FIXES = {errno.EADDRNOTAVAIL: "give an address of this machine with {}",
          errno.EACCES: "ports below 1024 are for root; give one above with {}"}


def _bind(setting: str, address: str) -> socket.socket:
    """A socket bound to HOST:PORT. Raises BadInput, naming the setting, the address and the fix."""
    host, _, port = address.rpartition(":")
    flag = "--" + setting.partition(".")[2]
    try:
        if not 0 <= int(port) <= 65535:
            raise BadInput(f"{setting}: {address}: there is no port {port}; ports end at 65535")
        found = socket.getaddrinfo(host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError):
        raise BadInput(f"{setting}: {address}: is no address of this machine; give HOST:PORT with {flag}") from None
    family, kind, protocol, _, where = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
        bound.listen()
    except OSError as error:
        bound.close()
        fix = _FIXES.get(error.errno or 0, "stop what listens there, or give another with {}, port 0 for a free one")
        raise BadInput(f"{setting}: {address}: {error.strerror}; {fix.format(flag)}") from None
    return bound


def _said(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
