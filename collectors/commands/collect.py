"""``flashover collect --store STORE``: receive OTLP into a store until told to end."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from collectors import console, settings
from collectors.clock import SystemClock
from collectors.receive.listening import Addresses
from collectors.receive.receiver_options import ReceiverOptions
from collectors.service.collector import Collector
from collectors.service.group_commit import Bounds
from collectors.service.service_manager import ServiceManager
from collectors.service.structured_logs import EventLog


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return console.run(collect, argv, "collect")


def collect(
    store: Annotated[Path, typer.Option("--store", help="telemetry folder; made where there is none")],
    http: Annotated[str | None, typer.Option("--http", metavar="HOST:PORT", help="OTLP over HTTP, /health; or off")] = None,
    grpc: Annotated[str | None, typer.Option("--grpc", metavar="HOST:PORT", help="OTLP over gRPC; or off")] = None,
    tls_cert: Annotated[str | None, typer.Option("--tls-cert", help="PEM file of the certificate chain")] = None,
    tls_key: Annotated[str | None, typer.Option("--tls-key", help="PEM file of its key")] = None,
    token_file: Annotated[str | None, typer.Option("--token-file", help="file with the bearer token senders must give")] = None,
    keep_text: Annotated[bool | None, typer.Option("--keep-text", help="keep prompt and completion text")] = None,
) -> None:
    """Receive OTLP into STORE. Prints one line when ready; ends on SIGTERM or Ctrl-C, after decoding what it has."""
    settings.current().resolve_all()  # those that the worker reads too, before anything is acknowledged
    options = ReceiverOptions.from_settings(http, grpc, tls_cert, tls_key, token_file)

    async def live(log: EventLog) -> int:
        collector = Collector(store, options, Bounds.from_settings(), log.warning, ServiceManager.of(settings.variables()),
                              keep_text=keep_text)

        def ready(addresses: Addresses) -> None:
            for sentence in addresses.warnings:
                console.say(f"flashover collect: warning: {sentence}")
            where = [f"{name} {address}" for name, address in (("http", addresses.http), ("grpc", addresses.grpc)) if address]
            print(f"ready: {', '.join(where)}, store {store}", flush=True)

        return await collector.run(ready)

    with EventLog(sys.stderr, SystemClock()) as log:
        left = asyncio.run(live(log))
    if left:
        console.say(f"flashover collect: {left} frames are safe in the journal and not decoded yet; the next start takes them "
                    f"in, or `flashover store recover {store}`")
