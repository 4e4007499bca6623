"""``python -m collectors.service.health_probe``: whether the collector on this machine is healthy, for containers and watchers.

It asks /health where ``collect.http`` says, so both must see the same settings. Exit code 0 healthy, 1 not, 2 bad settings.
"""

from __future__ import annotations

import http.client
import ssl
import sys
from dataclasses import dataclass

from collectors import console, settings
from collectors.errors import BadInput

_TIMEOUT_S = 4.0
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What /health said: ``text`` is its answer, or why there is none."""

    healthy: bool
    text: str


def probe(address: str, *, tls: bool) -> Finding:
    """Ask the collector at ``address`` (HOST:PORT). Its certificate is not checked: it names another host than this one."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    host = _EVERY_ADDRESS.get(host, host)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, int(port), timeout=_TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(host, int(port), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        return Finding(answer.status == 200, answer.read(1 << 16).decode("utf-8", "replace").strip())
    except (OSError, http.client.HTTPException) as error:
        return Finding(False, f"no answer from {address}: {error}")
    finally:
        connection.close()


def main() -> int:
    """Print what /health says; returns the exit code."""
    address = settings.value("collect.http")
    if address == "off":
        raise BadInput("collect.http is off, and health is served there; give it an address")
    found = probe(address, tls=bool(settings.value("collect.tls_cert")))
    print(found.text)
    return console.DONE if found.healthy else console.FINDING


if __name__ == "__main__":
    sys.exit(console.run(main, sys.argv[1:], "health_probe"))
