"""Servers on loopback that know the stage of a conversation and can fail at any of them."""

import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Request:
    """One request as it came off the wire. Header names are lower-case."""

    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[socket.socket, Request], bool]
"""Answers one request; returns whether the connection stays open."""


# --- Ways to answer a request -------------------------------------------------------------


def says(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Answer properly."""

    def answer(connection: socket.socket, _request: Request) -> bool:
        connection.sendall(_response(status, body, headers))
        return True

    return answer


def says_nothing(connection: socket.socket, _request: Request) -> bool:
    """Take the request and be silent until the client gives up."""
    while connection.recv(4096):
        continue
    return False


def resets(connection: socket.socket, _request: Request) -> bool:
    """Take the request, then break the connection (RST)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def closes(_connection: socket.socket, _request: Request) -> bool:
    """Take the request, then close without a word (FIN)."""
    return False


def is_cut_off(status: int, body: bytes) -> Answer:
    """Answer, but stop in the middle of the body."""

    def answer(connection: socket.socket, _request: Request) -> bool:
        connection.sendall(_response(status, body + b" " * 500, {})[:-500])
        return False

    return answer


def _response(status: int, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode() + body


# --- The HTTP server ----------------------------------------------------------------------


@dataclass
class HttpServer:
    """Answers each request with the next answer; the last one is repeated."""

    port: int
    answers: list[Answer] = field(default_factory=lambda: [says(200)])
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    pause_s: float = 0.0
    """Between two pieces of 64 kB that are read of a body: a slow line."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def will(self, *answers: Answer) -> None:
        """Set how the next requests are answered."""
        self.answers = list(answers)

    def converse(self, connection: socket.socket) -> None:
        """Serve one connection."""
        self.connections += 1
        with connection, connection.makefile("rb") as lines:
            while request := _read_request(lines, self.pause_s):
                self.requests.append(request)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not answer(connection, request):
                    return


def _read_request(lines: Any, pause_s: float) -> Request | None:
    first = lines.readline().decode()
    if not first:
        return None
    headers = {}
    while line := lines.readline().strip().decode():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    missing, pieces = int(headers.get("content-length", 0)), []
    while missing and (piece := lines.read(min(missing, 65_536))):
        pieces.append(piece)
        missing -= len(piece)
        time.sleep(pause_s)
    return Request(first.split(" ")[1], headers, b"".join(pieces))


# --- The SMTP server ----------------------------------------------------------------------

DROP = "drop"
SILENCE = "silence"


@dataclass
class Delivered:
    """One message that the server said 250 to, or took without saying so."""

    sender: str
    recipients: list[str]
    """Those whose RCPT TO was answered 250."""
    data: bytes

    @property
    def recipient(self) -> str:
        [only] = self.recipients
        return only


@dataclass
class SmtpServer:
    """Speaks SMTP by a script: what it answers to a verb, once or always.

    Stages: connect, EHLO, AUTH, MAIL, RCPT, DATA, content, RSET, QUIT. An answer is a line,
    DROP (close) or SILENCE. A list is used up one by one, and after it the usual answer follows.
    """

    port: int
    extensions: list[str] = field(default_factory=lambda: ["8BITMIME", "SIZE 10000000"])
    script: dict[str, list[str]] = field(default_factory=dict)
    taken: list[Delivered] = field(default_factory=list)
    verbs: list[str] = field(default_factory=list)
    connections: int = 0

    USUAL = {
        "connect": "220 sink ESMTP",
        "AUTH": "235 welcome",
        "DATA": "354 go on",
        "QUIT": "221 bye",
    }

    def converse(self, connection: socket.socket) -> None:
        """Serve one connection."""
        self.connections += 1
        with connection, connection.makefile("rb") as lines:
            if not self._answer(connection, "connect"):
                return
            self._sender, self._recipients = "", list[str]()
            while line := lines.readline().decode().strip():
                verb = line.split(" ")[0].upper()
                self.verbs.append(verb)
                if not self._take(connection, lines, verb, line) or verb == "QUIT":
                    return

    def _take(self, connection: socket.socket, lines: Any, verb: str, line: str) -> bool:
        if verb == "RCPT":
            return self._recipient(connection, line)
        if verb == "MAIL":
            self._sender, self._recipients = _bare(line), []
        if verb == "RSET":
            self._recipients = []
        if verb == "DATA":
            return self._data(connection, lines)
        if verb == "EHLO" and "EHLO" not in self.script:
            said = ["sink", *self.extensions]
            text = [f"250{'-' if name != said[-1] else ' '}{name}\r\n" for name in said]
            connection.sendall("".join(text).encode())
            return True
        return self._answer(connection, verb)

    def _recipient(self, connection: socket.socket, line: str) -> bool:
        said = self._next("RCPT")
        if said.startswith("2"):
            self._recipients.append(_bare(line))
        return self._say(connection, said)

    def _data(self, connection: socket.socket, lines: Any) -> bool:
        said = self._next("DATA")
        if not said.startswith("354"):
            return self._say(connection, said)
        self._say(connection, said)
        data = b""
        while (line := lines.readline()) not in (b".\r\n", b""):
            data += line
        said = self._next("content")
        if not said[:1].isdigit() or said.startswith("2"):
            self.taken.append(Delivered(self._sender, list(self._recipients), data))
        return self._say(connection, said)

    def _answer(self, connection: socket.socket, stage: str) -> bool:
        return self._say(connection, self._next(stage))

    def _next(self, stage: str) -> str:
        waiting = self.script.get(stage, [])
        return waiting.pop(0) if waiting else self.USUAL.get(stage, "250 2.0.0 Ok: queued as Q1")

    def _say(self, connection: socket.socket, said: str) -> bool:
        if said == SILENCE:
            while connection.recv(4096):
                continue
        if said in (SILENCE, DROP):
            return False
        connection.sendall(f"{said}\r\n".encode())
        return not said.startswith("421")


def _bare(line: str) -> str:
    """Return the address in a MAIL or RCPT."""
    return line.partition("<")[2].partition(">")[0]


# --- Running them -------------------------------------------------------------------------


@contextmanager
def http_server() -> Iterator[HttpServer]:
    """Run an HTTP server on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = HttpServer(listener.getsockname()[1])
        with _accepting(listener, server.converse):
            yield server


@contextmanager
def smtp_server(**options: Any) -> Iterator[SmtpServer]:
    """Run an SMTP server on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = SmtpServer(listener.getsockname()[1], **options)
        with _accepting(listener, server.converse):
            yield server


@contextmanager
def _accepting(
    listener: socket.socket, converse: Callable[[socket.socket], None]
) -> Iterator[None]:
    threads: list[threading.Thread] = []
    open_connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        try:
            converse(connection)
        except OSError:
            connection.close()  # The client was gone first, as some tests want it.

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_connections.append(connection)
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        acceptor.join(5)
        for connection in open_connections:
            _hang_up(connection)
        for thread in threads:
            thread.join(5)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # It is closed already.


def closed_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def deaf_port() -> Iterator[int]:
    """Give a port whose queue is full: connecting to it takes for ever."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = []
        for _ in range(4):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(("127.0.0.1", port))
        try:
            yield port
        finally:
            for one in waiting:
                one.close()


@contextmanager
def untrusted_port() -> Iterator[int]:
    """Give a port that speaks TLS with a certificate that nobody vouches for."""
    context = _own_certificate()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def shake_hands(connection: socket.socket) -> None:
            context.wrap_socket(connection, server_side=True).close()

        with _accepting(listener, shake_hands):
            yield listener.getsockname()[1]


def _own_certificate() -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.write(certificate.public_bytes(Encoding.PEM))
        file.flush()
        context.load_cert_chain(file.name)
    return context
