"""Real receivers on free ports in a thread of the test, before a door that remembers."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import zstandard

from collectors.receive.door import Refused
from collectors.receive.listening import Addresses, Receivers
from collectors.receive.receiver_options import ReceiverOptions
from collectors.service.own_metrics import Outcome, OwnMetrics, Transport
from collectors.service.vitals import Vitals
from collectors.sink import Signal


@dataclass
class MemoryDoor:
    """A door that keeps bodies in memory. ``refusal``: raised instead; ``fault``: too; ``gate``: waited for first."""

    bodies: list[tuple[Signal, bytes]] = field(default_factory=list)
    refusal: Refused | None = None
    fault: Exception | None = None
    gate: threading.Event | None = None
    waiting: threading.Event = field(default_factory=threading.Event)

    async def admit(self, signal: Signal, body: bytes, packed: bytes = b"") -> bool:
        assert not packed or zstandard.decompress(packed) == body
        self.waiting.set()
        while self.gate is not None and not self.gate.is_set():
            await asyncio.sleep(0.005)
        if self.refusal or self.fault:
            raise self.refusal or self.fault or AssertionError
        known = {(kept, hashlib.sha256(kept_body).digest()) for kept, kept_body in self.bodies}
        if (signal, hashlib.sha256(body).digest()) in known:
            return False
        self.bodies.append((signal, body))
        return True


class Told(OwnMetrics):
    """Remembers what it was told of each request."""

    def __init__(self) -> None:
        self.requests: list[tuple[Transport, Signal | None, Outcome, int]] = []
        self.padding = b""
        self.pages = 0

    def received(self, transport: Transport, signal: Signal | None, outcome: Outcome, wire_bytes: int, seconds: float) -> None:
        assert 0 <= seconds < 3600
        self.requests.append((transport, signal, outcome, wire_bytes))

    def page(self, vitals: Vitals) -> bytes:
        self.pages += 1
        return f"journal_frames {vitals.journal_frames}\n".encode() + self.padding


@dataclass
class Running:
    """Receivers that run; ``vitals`` may be replaced, ``stop`` may be called before the end."""

    receivers: Receivers
    door: MemoryDoor
    told: Told
    loop: asyncio.AbstractEventLoop
    vitals: Vitals = field(default_factory=Vitals)
    addresses: Addresses = field(default_factory=lambda: Addresses(None, None, ()))

    @property
    def url(self) -> str:
        return f"http://{self.addresses.http}"

    def stop(self, grace_s: float) -> None:
        asyncio.run_coroutine_threadsafe(self.receivers.stop(grace_s), self.loop).result(30)

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for _, _, outcome, _ in self.told.requests]


@contextmanager
def running(options: ReceiverOptions | None = None) -> Iterator[Running]:
    """Receivers with these options, HTTP and gRPC on free ports of the loopback when there are none."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    door, told = MemoryDoor(), Told()
    try:
        up = Running(Receivers(door, told, lambda: up.vitals, options or ReceiverOptions()), door, told, loop)
        up.addresses = asyncio.run_coroutine_threadsafe(up.receivers.start(), loop).result(30)
        try:
            yield up
        finally:
            up.stop(1)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
