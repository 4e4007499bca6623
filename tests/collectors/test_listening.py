"""Where the receivers listen and who may talk to them: addresses, TLS, token, and errors that name setting, value and fix."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import grpc
import httpx
import pytest
from otlp_bodies import log_body
from running_receivers import MemoryDoor, Told, running

from collectors.errors import BadInput
from collectors.receive.listening import Addresses, Receivers
from collectors.receive.receiver_options import ReceiverOptions
from collectors.service.vitals import Vitals

BODY = log_body(5, "one line")
PROTOBUF = {"content-type": "application/x-protobuf"}
EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


def started(options: ReceiverOptions) -> Addresses:
    """Start and stop receivers; what ``start`` gave or raised."""

    async def once() -> Addresses:
        receivers = Receivers(MemoryDoor(), Told(), Vitals, options)
        try:
            return await receivers.start()
        finally:
            await receivers.stop(0)

    return asyncio.run(once())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, so there is no certificate to try TLS with")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run([*make.split(), "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    return cert, key


def test_both_receivers_take_free_ports_of_the_loopback() -> None:
    with running(ReceiverOptions()) as up:
        assert up.addresses.http is not None and up.addresses.grpc is not None
        assert up.addresses.http.startswith("127.0.0.1:") and up.addresses.grpc.startswith("127.0.0.1:")
        assert up.addresses.warnings == ()
        assert httpx.post(f"{up.url}/v1/logs", content=BODY, headers=PROTOBUF).status_code == 200
        with grpc.insecure_channel(up.addresses.grpc) as channel:
            assert channel.unary_unary(EXPORT)(BODY, timeout=20) == b""
        assert up.outcomes == ["ok", "duplicate"]
        host, _, port = up.addresses.http.rpartition(":")
        up.stop(1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))


def test_each_of_them_may_be_off_and_on_ipv6() -> None:
    assert started(ReceiverOptions(http=None)).http is None
    assert started(ReceiverOptions(grpc=None)).grpc is None
    if socket.has_ipv6:
        with running(ReceiverOptions(http="[::1]:0", grpc="[::1]:0")) as up:
            assert (up.addresses.http or "").startswith("[::1]:") and (up.addresses.grpc or "").startswith("[::1]:")
            assert httpx.get(f"{up.url}/health").status_code == 200


@pytest.mark.parametrize("which", ["http", "grpc"])
def test_an_address_in_use_is_named_with_the_fix_and_nothing_is_left_listening(which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        address, other = (f"127.0.0.1:{server.getsockname()[1]}" for server in (taken, free))
        free.close()
        options = {"http": other, "grpc": other} | {which: address}
        with pytest.raises(BadInput, match=rf"collect\.{which}: {address}: Address already in use; .* with --{which}"):
            started(ReceiverOptions(**options))  # type: ignore[arg-type]
        with socket.create_server(("127.0.0.1", int(other.rpartition(":")[2]))):
            pass


def test_two_receivers_never_share_a_port() -> None:
    with running(ReceiverOptions(http=None)) as up, pytest.raises(BadInput, match="Address already in use"):
        started(ReceiverOptions(http=None, grpc=up.addresses.grpc))


@pytest.mark.parametrize(("address", "reason"), [
    ("127.0.0.1:70000", "there is no port 70000"), ("[::zz]:1", "is no address of this machine"),
    ("203.0.113.9:4318", "Cannot assign requested address; give an address of this machine with --"),
    ("127.0.0.1:x", "is no address")])
@pytest.mark.parametrize("which", ["http", "grpc"])
def test_an_address_that_cannot_be_is_named(which: str, address: str, reason: str) -> None:
    with pytest.raises(BadInput, match=rf"collect\.{which}: {re.escape(address)}: {reason}"):
        started(ReceiverOptions(**{"http": None, "grpc": None} | {which: address}))  # type: ignore[arg-type]


def test_an_address_that_others_reach_without_token_or_tls_is_warned_of() -> None:
    (said,) = started(ReceiverOptions(http="0.0.0.0:0", grpc=None)).warnings
    assert said.startswith("collect.http: 0.0.0.0:")
    assert "without a token and without TLS; give --token-file and --tls-cert and --tls-key, or listen on 127.0.0.1" in said
    (said,) = started(ReceiverOptions(http=None, grpc="0.0.0.0:0", token="x")).warnings
    assert "without TLS; give --tls-cert and --tls-key" in said and "without a token" not in said


def test_both_speak_tls(pair: tuple[Path, Path]) -> None:
    cert, key = pair
    with running(ReceiverOptions(tls_cert=cert, tls_key=key, token="s3cret", read_timeout_s=2)) as up:
        assert up.addresses.http is not None and up.addresses.grpc is not None
        bearer = {"authorization": "Bearer s3cret"}
        trust = ssl.create_default_context(cafile=cert)
        answer = httpx.post(f"https://{up.addresses.http}/v1/logs", content=BODY, headers=PROTOBUF | bearer, verify=trust)
        assert answer.status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"http://{up.addresses.http}/v1/logs", content=BODY, headers=PROTOBUF | bearer)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://{up.addresses.http}/health")
        with grpc.secure_channel(up.addresses.grpc, grpc.ssl_channel_credentials(cert.read_bytes())) as channel:
            assert channel.unary_unary(EXPORT)(BODY, metadata=tuple(bearer.items()), timeout=20) == b""
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(EXPORT)(BODY, timeout=20)
        with grpc.insecure_channel(up.addresses.grpc) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary(EXPORT)(BODY, timeout=5)
        host, _, port = up.addresses.http.rpartition(":")
        with socket.create_connection((host, int(port)), 20) as silent:
            assert silent.recv(1) == b""  # a handshake that does not come is not waited for
    assert up.outcomes == ["ok", "duplicate", "unauthorised"]


@pytest.mark.parametrize("which", ["http", "grpc"])
def test_files_that_are_no_certificate_and_key_are_named(tmp_path: Path, pair: tuple[Path, Path], which: str) -> None:
    cert, key = pair
    junk = tmp_path / "junk.pem"
    junk.write_text("no pem")
    off = {"http": None, "grpc": None} | {which: "127.0.0.1:0"}
    for files in ((junk, key), (cert, junk), (key, cert), (cert, tmp_path / "none.pem")):
        with pytest.raises(BadInput, match=r"collect\.tls_cert .*pem, collect\.tls_key .*pem: cannot be used: .*both PEM"):
            started(ReceiverOptions(tls_cert=files[0], tls_key=files[1], **off))  # type: ignore[arg-type]


def test_a_key_with_a_password_is_no_question_to_a_terminal(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    locked = tmp_path / "locked.pem"
    subprocess.run(["openssl", "pkey", "-in", pair[1], "-aes256", "-passout", "pass:x", "-out", locked], check=True,
                   capture_output=True)
    with pytest.raises(BadInput, match="needs a password"):
        started(ReceiverOptions(tls_cert=pair[0], tls_key=locked))


def options(**flags: str) -> ReceiverOptions:
    return ReceiverOptions.from_settings(**flags)


def test_the_settings_are_the_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    defaults = options()
    assert (defaults.http, defaults.grpc, defaults.token) == ("127.0.0.1:4318", "127.0.0.1:4317", "")
    assert defaults == ReceiverOptions("127.0.0.1:4318", "127.0.0.1:4317")
    assert options(http="off", grpc="127.0.0.1:0") == ReceiverOptions(None, "127.0.0.1:0")
    for given in ("MAX_BODY=2K", "MAX_PLAIN=3K", "READ_TIMEOUT_S=4", "MAX_CONNECTIONS=5", "QUEUE_BYTES=6M"):
        name, _, text = given.partition("=")
        monkeypatch.setenv(f"FLASHOVER_COLLECT_{name}", text)
    changed = options()
    assert (changed.max_body, changed.max_plain, changed.max_held) == (2048, 3072, 6 << 20)
    assert (changed.read_timeout_s, changed.max_connections) == (4, 5)
    with pytest.raises(BadInput, match="both off"):
        options(http="off", grpc="off")


def test_a_token_file_has_one_line_that_others_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    assert (options(token_file=str(path)).token, options(token_file=str(path)).warnings) == ("s3cret", ())
    path.chmod(0o644)
    assert options(token_file=str(path)).warnings == (f"{path}: other users can read the token; chmod 600 {path}",)


@pytest.mark.parametrize("content", [b"", b"\n", b"a b\n", b"a\nb\n", b"\xff", b"a\0b", "é".encode()])
def test_what_is_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"collect\.token_file: .*token: holds no .*; give a file with one line"):
        options(token_file=str(path))
    with pytest.raises(BadInput, match="No such file"):
        options(token_file=str(tmp_path / "none"))


def test_tls_needs_both_files(tmp_path: Path) -> None:
    present = tmp_path / "some.pem"
    present.write_text("")
    for flags, why in (({"tls_cert": str(present)}, "collect.tls_cert is given without collect.tls_key"),
                       ({"tls_key": str(present)}, "collect.tls_key is given without collect.tls_cert"),
                       ({"tls_cert": "/none.pem", "tls_key": str(present)}, "collect.tls_cert: /none.pem is no file")):
        with pytest.raises(BadInput, match=why):
            options(**flags)


def test_signals_are_left_alone() -> None:
    async def handlers() -> None:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        receivers = Receivers(MemoryDoor(), Told(), Vitals, ReceiverOptions())
        await receivers.start()
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        await receivers.stop(0)

    asyncio.run(handlers())
