"""The sandbox as a server: provider APIs, control, inbox pages, SMTP, webhooks; one event loop.

async with Sandbox(config) as sandbox: ...          in a program that has a loop
sandbox = Sandbox(config).start(); sandbox.stop()   in a thread of its own, for tests
python -m delivery.sandbox --config FILE            by itself
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypeVar

from aiohttp import web

from delivery.sandbox import control, listing, pages, searching
from delivery.sandbox.calls import Answer, Call, Incoming, Refused
from delivery.sandbox.config import Account, Config, Options
from delivery.sandbox.kinds import KINDS, Kind
from delivery.sandbox.office import Office
from delivery.sandbox.readers import Readers
from delivery.sandbox.smtp import Relay
from delivery.sandbox.webhooks import Pump

MAX_BODY = 64 * 1024 * 1024
"""Above every provider's limit: what is too large must reach the module that refuses it."""

ROUTES = {
    "sendgrid": ("/sendgrid/v3/mail/send",),
    "mailgun": ("/mailgun/v3/{domain}/messages", "/mailgun/v3/{domain}/messages.mime"),
    "postmark": ("/postmark/email", "/postmark/email/batch"),
    "ses": ("/ses/v2/email/outbound-emails", "/ses/v2/email/outbound-bulk-emails"),
}

log = logging.getLogger(__name__)

T = TypeVar("T")


class Sandbox:
    """A running sandbox. `url` and `smtp_port` are known once it has started."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.url = ""
        self.smtp_port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> Self:
        """Listen, and begin to tell events."""
        self._office = Office(self.config, self._wake)
        self._readers = Readers(self.config.reader_hosts, self._office.read)
        self._pump = Pump(self._office, self._readers)
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.config.host, self.config.port, backlog=512)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = self._pump.base_url = f"http://{self.config.host}:{port}"
        self._smtp = await self._listen_smtp()
        self._readers.start()
        self._telling = asyncio.create_task(self._pump.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening; events not yet told wait in the store."""
        self._telling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._telling
        await self._pump.close()
        await self._readers.close()
        if self._smtp:
            self._smtp.close()
            self._relay.hang_up()
            await self._smtp.wait_closed()
        await self._runner.cleanup()
        self._office.inbox.close()

    def start(self) -> Self:
        """Run in a thread of its own; return when it listens. Raises what kept it from that."""
        ready: asyncio.Future[None] | None = None
        started = threading.Event()
        failure: list[BaseException] = []

        async def serve() -> None:
            nonlocal ready
            self._loop = asyncio.get_running_loop()
            self._stopping = ready = self._loop.create_future()
            async with self:
                started.set()
                await ready

        def run() -> None:
            try:
                asyncio.run(serve())
            except OSError as error:
                failure.append(error)
            finally:
                started.set()

        self._thread = threading.Thread(target=run, name="sandbox", daemon=True)
        self._thread.start()
        started.wait()
        if failure:
            raise failure[0]
        return self

    def stop(self) -> None:
        """End the thread; return when everything is closed."""
        if self._loop is None or self._thread is None or not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._stopping.set_result, None)
        self._thread.join(timeout=10)

    def call(self, function: Callable[[Office], T]) -> T:
        """Return `function(office)`, run in the sandbox's thread: for tests and demos."""
        if self._loop is None:
            return function(self._office)

        async def run() -> T:
            return function(self._office)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=30)

    def set_accounts(self, accounts: Sequence[Account]) -> None:
        """Replace the accounts."""
        self.call(lambda office: setattr(office, "accounts", tuple(accounts)))

    def set_options(self, **values: Any) -> None:
        """Change options, as PUT /_sandbox/options does. Raises ConfigError."""
        self.call(lambda office: setattr(office, "options", office.options.changed(values)))

    def messages(self, **filters: Any) -> list[dict[str, Any]]:
        """Return messages as JSON does; filters: `to`, `account`, `after`, `limit`."""
        return self.call(lambda office: control.messages(office, **filters))

    def stats(self) -> dict[str, Any]:
        """Return counts, as GET /_sandbox/stats does."""
        return self.call(control.stats)

    def duplicates(self) -> list[dict[str, Any]]:
        """Return every (recipient, our message id) that was accepted more than once."""
        return self.call(lambda office: office.inbox.duplicates())

    def _wake(self) -> None:
        self._pump.wake()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY)
        for name, paths in ROUTES.items():
            for path in paths:
                app.router.add_post(path, self._receiver(name))
        control.add_routes(app, self._office, self._pump)
        pages.add_routes(app, self._office)
        searching.add_routes(app, self._office)
        listing.add_routes(app, self._office)
        return app

    def _receiver(self, name: str) -> Callable[[web.Request], Any]:
        async def receive(request: web.Request) -> web.Response:
            return await self._receive(request, name, KINDS[name])

        return receive

    async def _receive(self, request: web.Request, name: str, kind: Kind) -> web.Response:
        """Answer one call to a provider's API."""
        incoming = await _incoming(request, self._office)
        account: Account | None = None
        try:
            if kind.identify is None or kind.accept is None:
                raise web.HTTPNotFound
            account = kind.identify(incoming, self._office.of_kind(name))
            call = kind.accept(incoming, account)
            fault = self._office.fault(account, call)
            if fault in ("429", "500"):
                raise Refused(_fault_answer(fault))
        except Refused as refused:
            self._office.refusals[account.name if account else name, refused.answer.status] += 1
            return _response(refused.answer)
        except (AttributeError, KeyError, TypeError, ValueError):
            # The body's fields are of the wrong kind: the providers say no more than this.
            log.warning("garbled_call", extra={"kind": name}, exc_info=True)
            return _response(Answer.json(400, {"message": "Bad Request"}))
        if fault != "lost":
            self._office.keep(account, call, kind.tells)
        return await _answer(request, call, fault, self._office.options_for(account.name))

    async def _listen_smtp(self) -> asyncio.Server | None:
        if self.config.smtp_port is None:
            return None
        self._relay = Relay(self._office)
        loop = asyncio.get_running_loop()
        protocol, host = self._relay.protocol, self.config.host
        server = await loop.create_server(protocol, host, self.config.smtp_port)
        self.smtp_port = server.sockets[0].getsockname()[1]
        return server


async def _answer(request: web.Request, call: Call, fault: str, options: Options) -> web.Response:
    """Return what the caller hears of a call that was taken, or lost: the answer, or less."""
    await asyncio.sleep(options.answer_latency)
    if fault == "broken":
        return _response(_fault_answer(fault))
    if fault == "hang":
        await _be_silent(request, options.hang)
    if fault and request.transport:
        request.transport.abort()
    return _response(call.answer)


async def _be_silent(request: web.Request, seconds: float) -> None:
    """Wait, for as long as the client does: who hung up needs no silence."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until and request.transport and not request.transport.is_closing():
        await asyncio.sleep(min(0.5, until - loop.time()))


async def _incoming(request: web.Request, office: Office) -> Incoming:
    """Return the request as plain data."""
    return Incoming(
        path=request.path,
        headers=_lower(request.headers),
        body=await request.read(),
        query=request.query_string,
        domain=request.match_info.get("domain", ""),
        is_inactive=office.inbox.is_inactive,
    )


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


def _fault_answer(fault: str) -> Answer:
    """Return a throttling or a failure, in a body every provider's client can live with."""
    if fault == "429":
        return Answer.json(429, {"message": "Too many requests"}, {"Retry-After": "1"})
    return Answer.json(500, {"message": "Internal server error"})
