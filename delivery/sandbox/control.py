"""The sandbox's own API under /_sandbox/: options, faults, accounts, messages, counts; SNS's pages.

No password: it listens on a loopback port. What a foreign web page could do to it through a
browser is cut off by refusing other Host names (rebinding) and by PUT and DELETE (no CORS answer).
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from delivery.sandbox import sns
from delivery.sandbox.config import ConfigError, accounts_from_json
from delivery.sandbox.inbox import Stored
from delivery.sandbox.kinds import KINDS
from delivery.sandbox.mime import read_mime
from delivery.sandbox.office import Office
from delivery.sandbox.webhooks import Pump

MAX_PAGE = 10_000
LOCAL_HOSTS = {"127.0.0.1", "localhost", "[::1]"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def local_only(handler: Handler) -> Handler:
    """Return the handler, answering only requests for a local name of this host."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        if request.host.rpartition(":")[0] not in LOCAL_HOSTS and request.host not in LOCAL_HOSTS:
            raise web.HTTPForbidden(text="Open the sandbox as http://127.0.0.1 or localhost.\n")
        return await handler(request)

    return guarded


def message_json(stored: Stored, *, with_bodies: bool = True) -> dict[str, Any]:
    """Return a message as JSON shows it; bodies are filled in only when wanted."""
    names = ("id", "account", "kind", "recipient", "message_id", "provider_message_id")
    known = {name: getattr(stored, name) for name in names}
    known["received_at"] = stored.received_at
    if not with_bodies:
        return known
    content = asdict(KINDS[stored.kind].expand(stored.shared, stored.own))
    return {**known, "from": content.pop("sender"), **content}


def content_of(office: Office, message: int, sha256: str) -> bytes:
    """Return the bytes of an attachment: the inbox's, or out of the MIME message that holds it."""
    kept = office.inbox.file(sha256)
    if kept is not None:
        return kept
    stored = office.inbox.message(message)
    raw = stored.own.get("raw") or stored.shared.get("mime") if stored else None
    files = read_mime(raw.encode("utf-8", "surrogateescape")).files if raw else ()
    return next((file.content for file in files if file.sha256 == sha256), b"")


def messages(
    office: Office,
    to: str = "",
    account: str = "",
    after: int = 0,
    limit: int = 100,
    bodies: bool = True,
) -> list[dict[str, Any]]:
    """Return messages, oldest first, with an id above `after`; `to` is any part of the address."""
    found = office.inbox.messages(to, account, after, min(limit, MAX_PAGE))
    return [message_json(stored, with_bodies=bodies) for stored in found]


def stats(office: Office) -> dict[str, Any]:
    """Return counts over all and per account, refusals by status, and confirmed topics."""
    refusals: dict[str, dict[str, int]] = {}
    for (name, status), count in office.refusals.items():
        refusals.setdefault(name, {})[str(status)] = count
    return {
        **office.inbox.totals(),
        "accounts": office.inbox.stats(),
        "refusals": refusals,
        "readers": office.read.as_json(),
        "confirmed_topics": sorted(office.confirmed),
    }


def add_routes(app: web.Application, office: Office, pump: Pump) -> None:
    """Put the control API and SNS's pages on the server."""
    control = Control(office, pump)
    for method, path, handler in (
        ("GET", "/_sandbox/options", control.get_options),
        ("PUT", "/_sandbox/options", control.put_options),
        ("GET", "/_sandbox/faults", control.get_faults),
        ("PUT", "/_sandbox/faults", control.put_faults),
        ("DELETE", "/_sandbox/faults", control.delete_faults),
        ("PUT", "/_sandbox/accounts", control.put_accounts),
        ("POST", "/_sandbox/accounts/{name}/confirm", control.confirm),
        ("GET", "/_sandbox/messages", control.get_messages),
        ("DELETE", "/_sandbox/messages", control.delete_messages),
        ("GET", "/_sandbox/stats", control.get_stats),
        ("GET", "/_sandbox/duplicates", control.get_duplicates),
        ("GET", "/sns/confirm", control.confirmed),
        ("POST", "/sns/", control.confirmed),
        ("GET", "/sns/{certificate}", control.certificate),
    ):
        app.router.add_route(method, path, local_only(handler))


class Control:
    """The handlers; each reads or changes the office."""

    def __init__(self, office: Office, pump: Pump) -> None:
        self._office = office
        self._pump = pump

    async def get_options(self, request: web.Request) -> web.Response:
        return web.json_response(self._office.options.as_json())

    async def put_options(self, request: web.Request) -> web.Response:
        """Change the options that the JSON object names; the others stay."""
        try:
            self._office.options = self._office.options.changed(await request.json())
        except (ConfigError, ValueError, AttributeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return await self.get_options(request)

    async def get_faults(self, request: web.Request) -> web.Response:
        """Tell what is ordered to go wrong, and how many calls have met which fault."""
        return web.json_response(self._office.faults.as_json())

    async def put_faults(self, request: web.Request) -> web.Response:
        """Let the next calls, or a share of all calls, go wrong; see `faults.Faults.order`."""
        known = {account.name for account in self._office.accounts}
        try:
            self._office.faults.order(await request.json(), known)
        except (ConfigError, ValueError, TypeError, AttributeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return await self.get_faults(request)

    async def delete_faults(self, request: web.Request) -> web.Response:
        """Let nothing go wrong any more but what the options say; the counts begin anew."""
        self._office.faults.clear()
        return await self.get_faults(request)

    async def put_accounts(self, request: web.Request) -> web.Response:
        """Replace all accounts by those of the JSON list."""
        try:
            self._office.accounts = accounts_from_json(await request.json())
        except (ConfigError, ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response([account.name for account in self._office.accounts])

    async def confirm(self, request: web.Request) -> web.Response:
        """Send an SNS SubscriptionConfirmation to the account's webhook."""
        account = self._office.account(request.match_info["name"])
        if account is None or account.kind != "ses":
            raise web.HTTPNotFound(text="There is no Amazon SES account of this name.\n")
        status = await self._pump.send(sns.confirmation(account, self._pump.base_url))
        return web.json_response({"answered": status})

    async def get_messages(self, request: web.Request) -> web.Response:
        query = request.query
        try:
            after, limit = int(query.get("after", 0)), int(query.get("limit", 100))
        except ValueError:
            return web.json_response({"error": "after and limit are whole numbers."}, status=400)
        found = messages(
            self._office,
            query.get("to", ""),
            query.get("account", ""),
            after,
            limit,
            query.get("bodies", "1") != "0",
        )
        return web.json_response(found)

    async def delete_messages(self, request: web.Request) -> web.Response:
        self._office.inbox.clear()
        return web.json_response({})

    async def get_stats(self, request: web.Request) -> web.Response:
        return web.json_response(stats(self._office))

    async def get_duplicates(self, request: web.Request) -> web.Response:
        return web.json_response(self._office.inbox.duplicates())

    async def confirmed(self, request: web.Request) -> web.Response:
        """Take the answer to a SubscriptionConfirmation: a GET, or SNS's own API."""
        form = parse_qs((await request.read()).decode("utf-8", "replace"))
        topic = request.query.get("TopicArn") or form.get("TopicArn", [""])[0]
        known = {account.signing.get("topic_arn") for account in self._office.of_kind("ses")}
        if topic not in known:
            raise web.HTTPBadRequest(text="The TopicArn is not one of this sandbox.\n")
        self._office.confirmed.add(topic)
        return web.Response(
            content_type="text/xml",
            text='<ConfirmSubscriptionResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">'
            f"<ConfirmSubscriptionResult><SubscriptionArn>{topic}:1</SubscriptionArn>"
            "</ConfirmSubscriptionResult></ConfirmSubscriptionResponse>",
        )

    async def certificate(self, request: web.Request) -> web.Response:
        """Serve the certificate that an account's notifications name."""
        for account in self._office.of_kind("ses"):
            if sns.certificate_path(account) == request.path and account.signing:
                text = account.signing["certificate"]
                return web.Response(text=text, content_type="application/x-pem-file")
        raise web.HTTPNotFound
