"""What the providers tell when they are asked: Mailgun's Events API, Postmark's message search.

Copied from documentation: Mailgun, API reference "Events" (begin, end, ascending, limit up to 300,
`items` and `paging.next`; an empty page is the last one; the items are the webhooks' event-data).
Postmark, "Messages API" (count up to 500, offset, count + offset up to 10,000, fromdate and todate;
details with MessageEvents) and "Bounce API" (one bounce has the fields of its webhook). Times
without a zone are Eastern. Opens, clicks and complaints are not played here.
"""

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from delivery.sandbox import mailgun, postmark
from delivery.sandbox.calls import Answer, Incoming, Occurrence, Refused
from delivery.sandbox.config import Account
from delivery.sandbox.inbox import Stored
from delivery.sandbox.kinds import KINDS, Kind, with_url
from delivery.sandbox.office import Office

MAILGUN_MOST = 300
POSTMARK_MOST = 500
POSTMARK_REACH = 10_000
EASTERN = ZoneInfo("America/New_York")


def add_routes(app: web.Application, office: Office) -> None:
    """Let the providers be asked."""
    searches = Searches(office)
    app.router.add_get("/mailgun/v3/{domain}/events", searches.mailgun)
    app.router.add_get("/mailgun/v3/{domain}/events/{page}", searches.mailgun)
    app.router.add_get("/postmark/messages/outbound", searches.postmark)
    app.router.add_get("/postmark/messages/outbound/{id}/details", searches.postmark_details)
    app.router.add_get("/postmark/bounces/{id}", searches.postmark_bounce)


class Searches:
    """The handlers. All of them tell only what has happened by now."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def mailgun(self, request: web.Request) -> web.Response:
        """Answer with events in the order of their time, a page at a time."""
        try:
            account = mailgun.identify(_incoming(request), self._office.of_kind("mailgun"))
            since, until, limit, after = _mailgun_query(request)
        except Refused as refused:
            return _response(refused.answer)
        except ValueError:
            return _response(mailgun.refuse("Invalid parameters").answer)
        told = self._happened(account, since, until)
        page = told[after : after + limit]
        token = _token(since, until, limit, after + len(page))
        base = str(request.url.origin()) + f"/mailgun/v3/{request.match_info['domain']}/events"
        items = [mailgun.event_data(account, each) for each in page]
        return _json({"items": items, "paging": {"next": f"{base}/{token}"}})

    async def postmark(self, request: web.Request) -> web.Response:
        """Answer with messages, the newest first."""
        try:
            account = postmark.identify(_incoming(request), self._office.of_kind("postmark"))
            count, offset = int(request.query["count"]), int(request.query["offset"])
            since, until = (_moment(request.query.get(n, "")) for n in ("fromdate", "todate"))
        except Refused as refused:
            return _response(refused.answer)
        except (KeyError, ValueError):
            return _response(postmark.refuse(600, "Count and Offset are required.").answer)
        if not 0 < count <= POSTMARK_MOST or not 0 <= offset <= POSTMARK_REACH - count:
            return _response(postmark.refuse(600, "Count is out of range.").answer)
        found = [
            message
            for message in self._office.inbox.newest("", account.name, None, POSTMARK_REACH)
            if _summary(message)["MessageStream"] == request.query.get("messagestream", "outbound")
            and (since or 0) <= message.received_at <= (until or time.time())
        ]
        page = [_summary(message) for message in found[offset : offset + count]]
        return _json({"TotalCount": len(found), "Messages": page})

    async def postmark_bounce(self, request: web.Request) -> web.Response:
        """Answer with one bounce, in the words of the webhook."""
        try:
            account = postmark.identify(_incoming(request), self._office.of_kind("postmark"))
        except Refused as refused:
            return _response(refused.answer)
        for each in self._happened(account, 0, time.time()):
            if str(each.id + _BOUNCED) == request.match_info["id"]:
                return _json(postmark.record_of(each))
        return _response(postmark.refuse(407, "This bounce was not found.").answer)

    async def postmark_details(self, request: web.Request) -> web.Response:
        """Answer with what became of one message."""
        try:
            account = postmark.identify(_incoming(request), self._office.of_kind("postmark"))
        except Refused as refused:
            return _response(refused.answer)
        asked = request.match_info["id"]
        told = self._happened(account, 0, time.time())
        events = [_message_event(each) for each in told if each.provider_message_id == asked]
        found = [
            message
            for message in self._office.inbox.newest("", account.name, None, POSTMARK_REACH)
            if message.provider_message_id == asked
        ]
        if not found:
            return _response(postmark.refuse(701, "This message was not found.").answer)
        return _json({**_summary(found[0]), "MessageEvents": [each for each in events if each]})

    def _happened(self, account: Account, since: float, until: float) -> list[Occurrence]:
        kind = KINDS[account.kind]
        rows = self._office.inbox.happened(account.name, since, min(until, time.time()))
        told = (row for row in rows if _is_told(kind, row.occurrence))
        return [with_url(row) for row in told]


def _is_told(kind: Kind, occurrence: Occurrence) -> bool:
    return occurrence.type in kind.tells(occurrence.shared, occurrence.own)


def _mailgun_query(request: web.Request) -> tuple[float, float, int, int]:
    """Return since, until, limit and how many were told before."""
    if page := request.match_info.get("page", ""):
        since, until, limit, after = json.loads(base64.urlsafe_b64decode(page))
        return float(since), float(until), int(limit), int(after)
    query = request.query
    limit = int(query.get("limit", "100"))
    if not 0 < limit <= MAILGUN_MOST or query.get("ascending", "yes") != "yes":
        raise ValueError("limit")
    return float(query.get("begin", 0)), float(query.get("end", time.time())), limit, 0


def _token(*values: float) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


def _moment(given: str) -> float | None:
    if not given:
        return None
    when = datetime.fromisoformat(given)
    return (when if when.tzinfo else when.replace(tzinfo=EASTERN)).timestamp()


def _summary(message: Stored) -> dict[str, Any]:
    return {
        "MessageID": message.provider_message_id,
        "MessageStream": message.own.get("MessageStream") or "outbound",
        "Recipients": [message.recipient],
        "ReceivedAt": datetime.fromtimestamp(message.received_at, UTC).isoformat(),
        "Subject": message.own.get("Subject") or "",
        "Status": "Sent",
        "Metadata": message.own.get("Metadata") or {},
    }


_BOUNCED = 4_000_000_000
"""Above it the ids of bounces begin: see postmark.record_of."""


def _message_event(occurrence: Occurrence) -> dict[str, Any] | None:
    """Return an entry of MessageEvents; None for what that list does not have."""
    record = postmark.record_of(occurrence)
    entry: dict[str, Any] = {"Recipient": occurrence.recipient, "Details": {}}
    kind = record["RecordType"]
    if kind == "Delivery":
        details = {"DeliveryMessage": "smtp;250 2.0.0 OK"}
        return {**entry, "Type": "Delivered", "ReceivedAt": record["DeliveredAt"]} | {
            "Details": details
        }
    if kind == "Bounce":
        details = {"Summary": record["Details"], "BounceID": str(record["ID"])}
        name = "Transient" if record["Type"] == "Transient" else "Bounced"
        return {**entry, "Type": name, "ReceivedAt": record["BouncedAt"], "Details": details}
    return None


def _incoming(request: web.Request) -> Incoming:
    return Incoming(
        path=request.path,
        headers={name.lower(): value for name, value in request.headers.items()},
        body=b"",
        query=request.query_string,
        domain=request.match_info.get("domain", ""),
    )


def _json(data: Any) -> web.Response:
    return _response(Answer.json(200, data))


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
