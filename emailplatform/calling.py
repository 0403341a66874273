"""POST to an address that somebody else typed in, so that it can harm nobody here.

Connects to the very address that was judged (`emailplatform.reaching`), asks no proxy, follows no
redirect, reads little of the answer, and ends in time whatever the other side does: the time that
is left is set before every single read. Connections are kept for a while and used again.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from emailplatform import reaching
from emailplatform.errors import InvalidInput
from emailplatform.reaching import Address, Busy, Place, Rules, Unreachable

CONNECT_S = 5.0
TOTAL_S = 15.0
"""From the look-up to the answer's first line."""
BODY_S = 2.0
"""For what is read of an answer once its status is known."""
MOST_ANSWER_BYTES = 2048
IDLE_S = 30.0
"""A kept connection is not used again after this."""
MOST_IDLE = 4
"""Kept connections per host."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call went. `status` is 0 if there was no answer; then `error` says why."""

    status: int
    took_ms: int
    text: str = ""
    error: str = ""
    retry_after: str = ""
    is_refused: bool = False
    """We did not call: the address is not allowed."""
    is_put_off: bool = False
    """We could not call yet, for a reason of our own: it says nothing of the other side."""


class _Clock:
    """When a call must be over."""

    def __init__(self, seconds: float) -> None:
        self.ends_at = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left. Raises TimeoutError if there are none."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _PlainSocket(socket.socket):
    clock: _Clock | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.clock:
            self.settimeout(self.clock.left())
        return super().recv_into(*args, **kwargs)


class _SecureSocket(ssl.SSLSocket):
    clock: _Clock | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.clock:
            self.settimeout(self.clock.left())
        return super().recv_into(*args, **kwargs)


@cache
def _trust() -> ssl.SSLContext:
    """Trust what this machine trusts (SSL_CERT_FILE counts), and Mozilla's authorities."""
    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    context.sslsocket_class = _SecureSocket
    return context


class _Connection(http.client.HTTPConnection):
    """A connection to one address of a place, which was judged before."""

    def __init__(self, place: Place, addresses: list[Address]) -> None:
        super().__init__(place.host, place.port)
        self._place, self._addresses = place, addresses
        self.used_at = 0.0

    def open(self, clock: _Clock) -> None:
        """Connect to the first address that answers, as one name may have several."""
        ends_at = time.monotonic() + min(CONNECT_S, clock.left())
        for number, address in enumerate(self._addresses, 1):
            try:
                self.sock = self._connected(address, ends_at - time.monotonic())
                break
            except OSError:
                if number == len(self._addresses) or time.monotonic() >= ends_at:
                    raise
        if self._place.scheme == "https":
            plain, self.sock = self.sock, None
            plain.settimeout(clock.left())
            try:
                self.sock = _trust().wrap_socket(plain, server_hostname=self._place.host)
            except OSError:
                plain.close()
                raise

    def _connected(self, address: Address, seconds: float) -> socket.socket:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        sock = _PlainSocket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(max(seconds, 0.01))
            sock.connect((str(address), self._place.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            sock.close()
            raise
        return sock

    def connect(self) -> None:
        """Never by itself: only `open` knows where to."""
        raise http.client.NotConnected

    def limit(self, clock: _Clock) -> _PlainSocket | _SecureSocket:
        """Let the clock count from now on; return the socket, which may outlive this."""
        sock: Any = self.sock
        sock.clock = clock
        sock.settimeout(clock.left())
        return sock  # type: ignore[no-any-return]  # one of our two


# --- Kept connections --------------------------------------------------------------------

_Key = tuple[str, str, int, Rules]
_kept: dict[_Key, list[_Connection]] = {}
_lock = threading.Lock()


def _take(key: _Key) -> _Connection | None:
    """Return a kept connection: it leads to an address that was allowed by the same rules."""
    with _lock:
        kept = _kept.get(key, [])
        while kept:
            connection = kept.pop()
            if time.monotonic() - connection.used_at < IDLE_S:
                return connection
            connection.close()
        _kept.pop(key, None)
    return None


def _keep(key: _Key, connection: _Connection) -> None:
    with _lock:
        _close_old(time.monotonic() - IDLE_S)
        kept = _kept.setdefault(key, [])
        if len(kept) < MOST_IDLE:
            connection.used_at = time.monotonic()
            kept.append(connection)
            return
    connection.close()


def _close_old(before: float) -> None:
    for key in list(_kept):
        for connection in [each for each in _kept[key] if each.used_at < before]:
            _kept[key].remove(connection)
            connection.close()
        if not _kept[key]:
            del _kept[key]


def hang_up() -> None:
    """Close what is kept."""
    with _lock:
        _close_old(float("inf"))


# --- Calls -------------------------------------------------------------------------------


def post(url: str, headers: Mapping[str, str], body: bytes, allowed: Rules | None = None) -> Answer:
    """POST a body; return how it went. Never raises for what the other side does."""
    begun, clock = time.monotonic(), _Clock(TOTAL_S)

    def answer(status: int = 0, **more: Any) -> Answer:
        return Answer(status, round(1000 * (time.monotonic() - begun)), **more)

    try:
        status, text, retry_after = _post(url, headers, body, allowed or reaching.rules(), clock)
        return answer(status, text=text, retry_after=retry_after)
    except InvalidInput as problem:
        return answer(error=str(problem), is_refused=True)
    except Busy as problem:
        return answer(error=str(problem), is_put_off=True)
    except Unreachable as problem:
        return answer(error=str(problem))
    except ssl.SSLCertVerificationError as problem:
        return answer(error=f"Its certificate is not good: {problem.verify_message}.")
    except TimeoutError:
        return answer(error="No answer in time.")
    except (OSError, http.client.HTTPException) as problem:
        return answer(error=f"Not reached: {_words(problem)}.")


def _words(problem: Exception) -> str:
    if isinstance(problem, http.client.RemoteDisconnected):
        return "it hung up without an answer"
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror[:1].lower() + problem.strerror[1:]
    return type(problem).__name__


def _post(
    url: str, headers: Mapping[str, str], body: bytes, allowed: Rules, clock: _Clock
) -> tuple[int, str, str]:
    place = reaching.place_of(url, allowed)
    key = (place.scheme, place.host, place.port, allowed)
    if kept := _take(key):
        try:
            return _talk(kept, key, place, headers, body, clock)
        except (ConnectionError, http.client.RemoteDisconnected):
            pass  # It was closed meanwhile, as servers do: once more, on a new one.
    connection = _Connection(place, reaching.addresses_of(place, allowed))
    try:
        connection.open(clock)
    except OSError:
        connection.close()
        raise
    return _talk(connection, key, place, headers, body, clock)


def _talk(
    connection: _Connection,
    key: _Key,
    place: Place,
    headers: Mapping[str, str],
    body: bytes,
    clock: _Clock,
) -> tuple[int, str, str]:
    response, is_whole = None, False
    try:
        sock = connection.limit(clock)
        connection.putrequest("POST", place.target, skip_host=True, skip_accept_encoding=True)
        given = {"Host": place.netloc, **headers, "Content-Length": str(len(body))}
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        sock.clock = _Clock(min(BODY_S, clock.left()))
        text, is_whole = _read(response)
        return response.status, text, response.headers.get("Retry-After", "")[:100]
    finally:
        if is_whole:
            _keep(key, connection)
        else:
            connection.close()
            if response:  # it has its own end of the socket
                response.close()


def _read(response: http.client.HTTPResponse) -> tuple[str, bool]:
    """Return the beginning of an answer, and whether that was all and there may be another.

    The status was the answer: whatever happens now changes nothing.
    """
    try:
        start = response.read(MOST_ANSWER_BYTES)
    except (OSError, http.client.HTTPException):
        return "", False
    is_whole = response.isclosed() and not response.will_close
    return start.decode("utf-8", "replace").replace("\0", ""), is_whole
