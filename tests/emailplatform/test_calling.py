"""Whatever the other side does, a call is short, small, and goes where it was sent."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from emailplatform import calling
from emailplatform.calling import Answer
from emailplatform.reaching import Rules
from tests.receiving import OK, Receiver, answer


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    calling.hang_up()
    server = Receiver()
    yield server
    server.close()
    calling.hang_up()


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "TOTAL_S", 0.6)
    monkeypatch.setattr(calling, "BODY_S", 0.3)


def post(receiver: Receiver) -> Answer:
    return calling.post(receiver.url, {"X-Mine": "yes"}, b'{"a": 1}')


def test_a_body_arrives_with_its_headers_and_the_connection_is_used_again(
    receiver: Receiver,
) -> None:
    first, second = post(receiver), post(receiver)

    assert (first.status, first.text, second.status) == (200, "ok", 200)
    [(headers, body), _] = receiver.got
    assert body == b'{"a": 1}'
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert headers["x-mine"] == "yes"
    assert receiver.connections == 1


def test_proxies_of_the_environment_are_not_asked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert post(receiver).status == 200


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.answers = [answer(302, Location=receiver.url)]

    assert post(receiver).status == 302
    assert len(receiver.got) == 1


def test_a_connection_that_was_closed_meanwhile_is_replaced(receiver: Receiver) -> None:
    def answer_and_hang_up(client: socket.socket) -> None:
        client.sendall(OK)

    receiver.answers = [answer_and_hang_up]

    assert [post(receiver).status, post(receiver).status] == [200, 200]
    assert receiver.connections == 2


def test_one_that_hangs_up_without_a_word_is_an_error(receiver: Receiver) -> None:
    receiver.usually = lambda client: None

    said = post(receiver)

    assert said.status == 0
    assert "hung up" in said.error


@pytest.mark.usefixtures("hurry")
def test_one_that_says_nothing_is_left_in_time(receiver: Receiver) -> None:

    def wait_for_the_end(_client: socket.socket) -> None:
        receiver.is_over.wait(5)

    receiver.usually = wait_for_the_end

    begun = time.monotonic()
    said = post(receiver)

    assert (said.status, said.error) == (0, "No answer in time.")
    assert time.monotonic() - begun < 2


@pytest.mark.usefixtures("hurry")
def test_one_that_drips_is_left_in_time(receiver: Receiver) -> None:
    def drip(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not receiver.is_over.wait(0.05):
            client.sendall(b"x")

    receiver.usually = drip

    begun = time.monotonic()
    said = post(receiver)

    assert (said.status, said.error) == (0, "No answer in time.")
    assert time.monotonic() - begun < 2


@pytest.mark.usefixtures("hurry")
def test_of_an_endless_answer_only_the_beginning_is_read(receiver: Receiver) -> None:
    def pour(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        while not receiver.is_over.is_set():
            client.sendall(b"x" * 65536)

    receiver.usually = pour

    said = post(receiver)

    assert said.status == 200
    assert said.text == "x" * calling.MOST_ANSWER_BYTES
    assert post(receiver).status == 200
    assert receiver.connections == 2, "what was not read to its end is not used again"


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("closes", ["", "Connection: close\r\n"])
def test_a_body_that_never_ends_does_not_undo_the_status(receiver: Receiver, closes: str) -> None:
    def stall(client: socket.socket) -> None:
        client.sendall(f"HTTP/1.1 202 Yes\r\nContent-Length: 10\r\n{closes}\r\nab".encode())
        receiver.is_over.wait(5)

    receiver.usually = stall

    begun = time.monotonic()
    assert post(receiver).status == 202
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "said",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"\0\xff" * 100,
    ],
)
def test_what_is_no_http_is_an_error_and_no_exception(receiver: Receiver, said: bytes) -> None:
    def speak(client: socket.socket) -> None:
        client.sendall(said)

    receiver.usually = speak

    answered = post(receiver)

    assert answered.status == 0
    assert answered.error


def test_nobody_there_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]

    said = calling.post(f"http://127.0.0.1:{port}/", {}, b"{}")

    assert said.error == "Not reached: connection refused."


def test_plain_http_and_loopback_are_refused_without_a_connection(receiver: Receiver) -> None:
    said = calling.post(receiver.url, {}, b"{}", Rules())
    secure = calling.post(receiver.url.replace("http", "https"), {}, b"{}", Rules(ports=()))

    assert said.is_refused
    assert secure.is_refused
    assert receiver.connections == 0


def test_a_server_without_a_good_certificate_is_not_talked_to(receiver: Receiver) -> None:
    said = calling.post(receiver.url.replace("http", "https"), {}, b"secret")

    assert said.status == 0
    assert receiver.got == []


class Secure:
    """A TLS server for one name, whose certificate the caller is made to trust."""

    def __init__(self, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pem = folder / "both.pem"
        pem.write_bytes(certificate(name))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self.names: list[str | None] = []
        context.sni_callback = lambda _sock, asked, _context: self.names.append(asked)
        self.receiver = Receiver(context)
        trust = ssl.create_default_context(cafile=str(pem))
        trust.sslsocket_class = calling._SecureSocket
        monkeypatch.setattr(calling, "_trust", lambda: trust)
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda _host, port, **more: real("127.0.0.1", port, **more)
        )

    def url(self, name: str) -> str:
        return f"https://{name}:{self.receiver.port}/hook"


def certificate(name: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + signed.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secure]:
    calling.hang_up()
    server = Secure("hooks.example.com", tmp_path, monkeypatch)
    yield server
    server.receiver.close()
    calling.hang_up()


def test_the_name_is_kept_for_the_certificate_and_the_host_header(secure: Secure) -> None:
    said = [calling.post(secure.url("hooks.example.com"), {}, b"{}") for _ in range(2)]

    assert [each.status for each in said] == [200, 200]
    assert secure.names == ["hooks.example.com"], "one handshake, with the name"
    [(headers, _), _] = secure.receiver.got
    assert headers["host"] == f"hooks.example.com:{secure.receiver.port}"


def test_a_certificate_for_another_name_is_not_accepted(secure: Secure) -> None:
    said = calling.post(secure.url("other.example.com"), {}, b"secret")

    assert said.status == 0
    assert said.error.startswith("Its certificate is not good")
    assert secure.receiver.got == []


@pytest.mark.usefixtures("hurry")
def test_one_that_drips_over_tls_is_left_in_time(secure: Secure) -> None:
    def drip(client: socket.socket) -> None:
        while not secure.receiver.is_over.wait(0.05):
            client.sendall(b"H")

    secure.receiver.usually = drip

    begun = time.monotonic()
    assert calling.post(secure.url("hooks.example.com"), {}, b"{}").error == "No answer in time."
    assert time.monotonic() - begun < 2
