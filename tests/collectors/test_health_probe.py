"""The probe that containers ask: healthy only when /health says so, over plain HTTP and TLS."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from collectors import console
from collectors.service.health_probe import main, probe

STATUS = [200]


class Health(BaseHTTPRequestHandler):
    """Answers as STATUS says."""

    def do_GET(self) -> None:
        self.send_response(STATUS[0] if self.path == "/health" else 404)
        self.end_headers()
        self.wfile.write(b'{"problems": []}\n')

    def log_message(self, *args: object) -> None:
        """Be silent."""


@contextmanager
def served(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of such a server."""
    server = HTTPServer(("127.0.0.1", 0), Health)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
@pytest.mark.parametrize("status", [200, 503, 404])
def test_only_200_is_healthy(host: str, status: int) -> None:
    STATUS[0] = status
    with served() as port:
        found = probe(f"{host}:{port}", tls=False)
    assert found.healthy == (status == 200)
    assert found.text == '{"problems": []}'


def test_tls_is_spoken_whatever_the_certificate_names(tmp_path: Path) -> None:
    STATUS[0] = 200
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed; no certificate can be made")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days",
               "2", "-subj", "/CN=collector.example"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with served(context) as port:
        assert probe(f"127.0.0.1:{port}", tls=True).healthy
        assert not probe(f"127.0.0.1:{port}", tls=False).healthy


def test_nobody_there_is_not_healthy() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = probe(f"127.0.0.1:{port}", tls=False)
    assert not found.healthy and "no answer from 127.0.0.1" in found.text


def test_one_who_talks_no_http_is_not_healthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        def talk() -> None:
            client, _ = server.accept()
            with client:
                client.recv(100)
                client.sendall(b"220 mail ready\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        found = probe(f"127.0.0.1:{server.getsockname()[1]}", tls=False)
        thread.join()
    assert not found.healthy


def test_the_command_asks_where_the_setting_says(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with served() as port:
        monkeypatch.setenv("FLASHOVER_COLLECT_HTTP", f"0.0.0.0:{port}")
        for status, code in ((200, 0), (503, 1)):
            STATUS[0] = status
            assert console.run(main, [], "health_probe") == code
            assert capsys.readouterr().out == '{"problems": []}\n'
    monkeypatch.setenv("FLASHOVER_COLLECT_HTTP", "off")
    assert console.run(main, [], "health_probe") == 2
    assert "collect.http is off" in capsys.readouterr().err


def test_it_starts_as_a_module() -> None:
    command = [sys.executable, "-m", "collectors.service.health_probe", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "health" in done.stdout
