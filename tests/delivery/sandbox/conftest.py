"""A running sandbox with one account of each kind, and a platform that hears its webhooks."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from delivery.sandbox.config import Account, Config, Options
from delivery.sandbox.server import Sandbox
from delivery.sandbox.signing import make_keys

CREDENTIALS = {
    "sendgrid": {"api_key": "SG.key"},
    "mailgun": {"api_key": "key-mailgun"},
    "postmark": {"server_token": "token-postmark"},
    "ses": {"access_key_id": "AKIASANDBOX", "secret_access_key": "secret-ses"},
    "smtp": {"username": "user", "password": "word"},
}

QUIET = {
    "bounce": 0,
    "soft_bounce": 0,
    "block": 0,
    "defer": 0,
    "open": 0,
    "machine_open": 0,
    "click": 0,
    "machine_click": 0,
    "complaint": 0,
    "unsubscribe": 0,
    "event_latency": 0,
    "webhook_backoff": 0.01,
}
"""Every message is delivered at once, and nothing else happens."""


@dataclass
class Heard:
    """One webhook as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Platform:
    """Keeps the webhooks it hears; `statuses` are its next answers, then always 200."""

    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def of(self, path: str) -> list[Heard]:
        return [heard for heard in self.heard if heard.path == path]


def wait_until(is_so: Callable[[], object], timeout_s: float = 10.0) -> Any:
    """Return what `is_so` returns once that is true; fail after the time-out."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = is_so()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError("It did not become true in time.")


@pytest.fixture
def wait() -> Callable[..., Any]:
    return wait_until


@pytest.fixture
def platform() -> Iterator[Platform]:
    state = Platform()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = state.statuses.pop(0) if state.statuses else 200
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.heard.append(Heard(self.path, headers, body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def keys() -> dict[str, dict[str, str]]:
    """Signing material, made once: RSA keys take their time."""
    return {kind: make_keys(kind) for kind in CREDENTIALS}


@pytest.fixture
def accounts(platform, keys) -> list[Account]:
    return [
        Account(
            name=kind,
            kind=kind,
            credentials=CREDENTIALS[kind],
            webhook_url=f"{platform.url}/{kind}" if kind != "smtp" else "",
            signing=keys[kind],
            domain="news.example",
        )
        for kind in CREDENTIALS
    ]


@pytest.fixture
def sandbox(accounts) -> Iterator[Sandbox]:
    options = Options().changed(QUIET)
    running = Sandbox(Config(accounts=accounts, options=options, port=0, smtp_port=0)).start()
    yield running
    running.stop()
