"""Where and how the receivers listen, from the settings; TLS and token read and checked."""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from collectors.errors import BadInput
from collectors.receive.bearer import read_token
from collectors.settings import value


@dataclass(frozen=True, slots=True)
class ReceiverOptions:
    """``http``, ``grpc``: HOST:PORT, port 0 takes a free one; None for off. ``tls_cert``, ``tls_key``: PEM files, None without
    TLS. ``token``: empty when none is needed. ``max_body``: bytes of a body as sent, ``max_plain``: unpacked, ``max_held``: of
    all bodies that HTTP clients are sending. ``read_timeout_s``: for one whole request. ``warnings``: what is unwise, a
    sentence each."""

    http: str | None = "127.0.0.1:0"
    grpc: str | None = "127.0.0.1:0"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    token: str = ""
    max_body: int = 16 << 20
    max_plain: int = 64 << 20
    max_held: int = 64 << 20
    read_timeout_s: float = 15
    max_connections: int = 1000
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_settings(cls, http: str | None = None, grpc: str | None = None, tls_cert: str | None = None,
                      tls_key: str | None = None, token_file: str | None = None) -> ReceiverOptions:
        """The ``collect.*`` settings; the arguments are the flags' values, None for those not given. Raises BadInput."""
        given = (value("collect.http", http), value("collect.grpc", grpc))
        addresses = [None if address == "off" else str(address) for address in given]
        if addresses == [None, None]:
            raise BadInput("collect.http and collect.grpc are both off; give one of them an address")
        cert, key = _pair(value("collect.tls_cert", tls_cert), value("collect.tls_key", tls_key))
        token, warnings = _token(value("collect.token_file", token_file))
        return cls(addresses[0], addresses[1], cert, key, token, value("collect.max_body"), value("collect.max_plain"),
                   max(value("collect.queue_bytes"), value("collect.max_body")), value("collect.read_timeout_s"),
                   value("collect.max_connections"), warnings)

    def tls(self) -> ssl.SSLContext | None:
        """The server's TLS; None without. Raises BadInput when the files cannot be used."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.tls_cert, self.tls_key, password=_no_password)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise BadInput(f"collect.tls_cert {self.tls_cert}, collect.tls_key {self.tls_key}: cannot be used: {error}; give a "
                           "certificate chain and its key without a password, both PEM") from None
        return context


def _no_password() -> str:
    raise ValueError("the key needs a password")


def _pair(cert: str, key: str) -> tuple[Path | None, Path | None]:
    if bool(cert) != bool(key):
        given, missing = ("collect.tls_cert", "collect.tls_key") if cert else ("collect.tls_key", "collect.tls_cert")
        raise BadInput(f"{given} is given without {missing}; TLS needs both")
    for name, path in (("collect.tls_cert", cert), ("collect.tls_key", key)):
        if path and not Path(path).is_file():
            raise BadInput(f"{name}: {path} is no file; give a PEM file")
        if path and not os.access(path, os.R_OK, effective_ids=True):
            raise BadInput(f"{name}: {path}: this user cannot read it; give a PEM file that it can")
    return (Path(cert), Path(key)) if cert else (None, None)


def _token(path: str) -> tuple[str, tuple[str, ...]]:
    token = read_token(path, "collect.token_file: ")
    readable = path and Path(path).stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
    return token, (f"{path}: other users can read the token; chmod 600 {path}",) if readable else ()
