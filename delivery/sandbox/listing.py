"""The providers' lists of whom they mail no more: read by page, added to, deleted from.

Copied from documentation: SendGrid, "Suppressions" (bounces, invalid_emails, spam_reports,
unsubscribes by limit and offset; global unsubscribes are POSTed). Mailgun, "Suppressions" (limit up
to 1,000, `items` and `paging.next`, an empty page is the last). Postmark, "Suppressions API" (dump,
50 at once, complaints stay). SES v2, ListSuppressedDestinations and its Put and Delete.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from delivery.sandbox import mailgun, postmark, sendgrid, ses
from delivery.sandbox.calls import Answer, Incoming, Refused
from delivery.sandbox.config import Account
from delivery.sandbox.office import Entry, Office

Handler = Callable[[web.Request, Account, bytes], Answer]
_IDENTIFY = {
    "sendgrid": sendgrid.identify,
    "mailgun": mailgun.identify,
    "postmark": postmark.identify,
    "ses": ses.identify,
}
_MAILGUN = "{list:bounces|complaints|unsubscribes}"


def add_routes(app: web.Application, office: Office) -> None:
    """Let the lists be read and changed."""
    lists = Listing(office)
    streams = "/postmark/message-streams/{list}/suppressions"
    addresses = "/ses/v2/email/suppression/addresses"
    for method, path, kind, handler in (
        ("GET", "/sendgrid/v3/suppression/{list}", "sendgrid", lists.sendgrid_page),
        ("DELETE", "/sendgrid/v3/suppression/{list}/{email}", "sendgrid", lists.delete),
        ("POST", "/sendgrid/v3/asm/suppressions/global", "sendgrid", lists.sendgrid_add),
        ("DELETE", "/sendgrid/v3/asm/suppressions/global/{email}", "sendgrid", lists.delete),
        ("GET", f"/mailgun/v3/{{domain}}/{_MAILGUN}", "mailgun", lists.mailgun_page),
        ("POST", f"/mailgun/v3/{{domain}}/{_MAILGUN}", "mailgun", lists.mailgun_add),
        ("DELETE", f"/mailgun/v3/{{domain}}/{_MAILGUN}/{{email}}", "mailgun", lists.delete),
        ("GET", f"{streams}/dump", "postmark", lists.postmark_dump),
        ("POST", streams, "postmark", lists.postmark_change),
        ("POST", f"{streams}/delete", "postmark", lists.postmark_change),
        ("GET", addresses, "ses", lists.ses_page),
        ("PUT", addresses, "ses", lists.ses_put),
        ("DELETE", f"{addresses}/{{email}}", "ses", lists.delete),
    ):
        app.router.add_route(method, path, lists.guarded(kind, handler))


class Listing:
    """The handlers; each reads or changes the office's lists."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def guarded(self, kind: str, handler: Handler) -> Callable[[web.Request], Awaitable[Any]]:
        """Return the handler for requests of a known account that meet no fault."""

        async def answer(request: web.Request) -> web.Response:
            body = await request.read()
            incoming = Incoming(
                path=request.raw_path.partition("?")[0],
                headers={name.lower(): value for name, value in request.headers.items()},
                body=body,
                query=request.query_string,
                domain=request.match_info.get("domain", ""),
                method=request.method,
            )
            try:
                account = _IDENTIFY[kind](incoming, self._office.of_kind(kind))
                if self._office.is_too_much():
                    raise Refused(Answer.json(429, {"message": "Too many requests"}))
                found = handler(request, account, body)
            except Refused as refused:
                found = refused.answer
            except (KeyError, ValueError, TypeError, AttributeError):
                found = Answer.json(400, {"message": "Bad Request"})
            return web.Response(status=found.status, body=found.body, headers=found.headers)

        return answer

    def _rows(self, account: Account, name: str) -> dict[str, Entry]:
        return self._office.lists.setdefault((account.name, name), {})

    def delete(self, request: web.Request, account: Account, body: bytes) -> Answer:
        usual = "suppressed" if account.kind == "ses" else "unsubscribes"
        rows = self._rows(account, request.match_info.get("list", usual))
        if rows.pop(request.match_info["email"].lower(), None) is None:
            error = {"x-amzn-ErrorType": "NotFoundException"}
            return Answer.json(404, {"message": "Address not found"}, error)
        is_silent = account.kind == "sendgrid"
        return Answer(204) if is_silent else Answer.json(200, {"message": "removed"})

    # --- SendGrid

    def sendgrid_page(self, request: web.Request, account: Account, body: bytes) -> Answer:
        limit, offset = int(request.query["limit"]), int(request.query.get("offset", 0))
        if not 0 < limit <= 500:
            raise ValueError(limit)
        rows = list(self._rows(account, request.match_info["list"]).items())
        page = rows[offset : offset + limit]
        return Answer.json(
            200, [{"email": email, "created": int(e.at), "reason": e.reason} for email, e in page]
        )

    def sendgrid_add(self, request: web.Request, account: Account, body: bytes) -> Answer:
        told = json.loads(body)["recipient_emails"]
        self._add(account, "unsubscribes", told)
        return Answer.json(201, {"recipient_emails": told})

    # --- Mailgun

    def mailgun_page(self, request: web.Request, account: Account, body: bytes) -> Answer:
        limit, after = int(request.query.get("limit", 100)), int(request.query.get("p", 0))
        if not 0 < limit <= 1_000:
            return mailgun.refuse("limit must not exceed 1000").answer
        rows = list(self._rows(account, request.match_info["list"]).items())
        page = rows[after : after + limit]
        items = [
            {"address": email, "created_at": _as_mail(e.at), "error": e.reason, "tags": ["*"]}
            for email, e in page
        ]
        url = f"{request.url.origin()}{request.path}?limit={limit}&p={after + len(page)}"
        return Answer.json(200, {"items": items, "paging": {"next": url}})

    def mailgun_add(self, request: web.Request, account: Account, body: bytes) -> Answer:
        told = [each["address"] for each in json.loads(body)]
        if len(told) > 1_000:
            return mailgun.refuse("Batch size should be less than 1000").answer
        self._add(account, request.match_info["list"], told)
        return Answer.json(200, {"message": f"{len(told)} addresses have been added"})

    # --- Postmark

    def postmark_dump(self, request: web.Request, account: Account, body: bytes) -> Answer:
        rows = self._rows(account, request.match_info["list"])
        found = [
            {
                "EmailAddress": email,
                "SuppressionReason": e.reason,
                "Origin": "Recipient",
                "CreatedAt": datetime.fromtimestamp(e.at, UTC).isoformat(),
            }
            for email, e in rows.items()
        ]
        return Answer.json(200, {"Suppressions": found})

    def postmark_change(self, request: web.Request, account: Account, body: bytes) -> Answer:
        stream = request.match_info["list"]
        rows, told = self._rows(account, stream), json.loads(body)["Suppressions"]
        if len(told) > 50:
            raise postmark.refuse(402, "At most 50 suppressions per call.")
        is_delete, results = request.path.endswith("/delete"), []
        for email in (each["EmailAddress"].lower() for each in told):
            kept = rows.get(email)
            if is_delete and kept and kept.reason == "SpamComplaint":
                results.append({"EmailAddress": email, "Status": "Failed", "Message": "No."})
                continue
            if is_delete:
                rows.pop(email, None)
            else:
                self._add(account, stream, [email], "ManualSuppression")
            status = "Deleted" if is_delete else "Suppressed"
            results.append({"EmailAddress": email, "Status": status, "Message": None})
        return Answer.json(200, {"Suppressions": results})

    # --- Amazon SES

    def ses_page(self, request: web.Request, account: Account, body: bytes) -> Answer:
        size, after = int(request.query["PageSize"]), int(request.query.get("NextToken", 0))
        rows = list(self._rows(account, "suppressed").items())
        page = rows[after : after + size]
        told: dict[str, Any] = {
            "SuppressedDestinationSummaries": [
                {"EmailAddress": email, "Reason": e.reason, "LastUpdateTime": e.at}
                for email, e in page
            ]
        }
        if after + size < len(rows):
            told["NextToken"] = str(after + size)
        return Answer.json(200, told)

    def ses_put(self, request: web.Request, account: Account, body: bytes) -> Answer:
        told = json.loads(body)
        if told["Reason"] not in ("BOUNCE", "COMPLAINT"):
            raise ValueError(told["Reason"])
        self._add(account, "suppressed", [told["EmailAddress"]], told["Reason"])
        return Answer.json(200, {})

    def _add(self, account: Account, name: str, emails: list[str], reason: str = "") -> None:
        self._office.list_addresses(account.name, name, emails, reason)


def _as_mail(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%a, %d %b %Y %H:%M:%S} UTC"
