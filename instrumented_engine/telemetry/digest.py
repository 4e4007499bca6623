"""A fingerprint of everything that was emitted."""

from __future__ import annotations

import hashlib

from collectors.sink import Signal, Sink


class DigestSink:
    """Forwards to ``inner`` and hashes what passes: signal, length and bytes of every body, in order."""

    def __init__(self, inner: Sink) -> None:
        self.inner = inner
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Hex SHA-256 over all bodies so far."""
        return self._hash.hexdigest()

    def put(self, signal: Signal, body: bytes) -> None:
        self._hash.update(f"{signal} {len(body)}\n".encode())
        self._hash.update(body)
        self.inner.put(signal, body)

    def sync(self) -> None:
        self.inner.sync()
