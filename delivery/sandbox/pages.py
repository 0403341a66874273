"""The inbox for eyes: a list with search and filter, and a message with all its parts.

A message's HTML is foreign: it is shown in a frame that may run no script and has no origin, from
a page whose Content-Security-Policy says the same. Pictures load and links open in a new tab, so
that reading a message here does to the platform what a reader would.
"""

import base64
import json
from datetime import datetime
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from delivery.sandbox.control import content_of, local_only, message_json, stats
from delivery.sandbox.office import Office

PER_PAGE = 50

BODY_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none';"
    " img-src http: https: data:; style-src 'unsafe-inline' http: https:; font-src http: https:"
)
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self'"

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --strong: #3b6fd4; }
* { box-sizing: border-box }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif }
header, main { max-width: 70rem; margin: auto; padding: 1rem 1.25rem }
header { display: flex; gap: 1rem; align-items: baseline; flex-wrap: wrap }
h1 { font-size: 1.15rem; margin: 0 } h1 a { color: inherit; text-decoration: none }
h2 { font-size: 1rem; margin: 1.5rem 0 .5rem }
form { margin-left: auto; display: flex; gap: .5rem }
input, select, button { font: inherit; padding: .25rem .6rem; border: 1px solid var(--line);
  border-radius: 6px; background: transparent; color: inherit }
a { color: var(--strong) }
table { width: 100%; border-collapse: collapse }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere }
th { font-weight: 600; font-size: .85rem; opacity: .75 }
tr:hover td { background: var(--soft) }
iframe { width: 100%; height: 38rem; border: 1px solid var(--line); border-radius: 8px;
  background: #fff }
pre { white-space: pre-wrap; background: var(--soft); padding: .8rem; border-radius: 8px }
.events td:not(:last-child) { white-space: nowrap }
.tag { font-size: .8rem; padding: .05rem .5rem; border-radius: 1rem; background: var(--soft);
  white-space: nowrap }
th, .when { white-space: nowrap }
@media (max-width: 45rem) { form { margin: 0; flex-wrap: wrap } main { overflow-x: auto }
  td { min-width: 9rem } }
.empty { padding: 3rem 0; text-align: center; opacity: .7 }
nav { display: flex; gap: 1rem; padding: 1rem 0 }
"""


def add_routes(app: web.Application, office: Office) -> None:
    """Put the inbox's pages on the server."""
    pages = Pages(office)
    app.router.add_get("/", local_only(pages.index))
    app.router.add_get(r"/messages/{id:\d+}", local_only(pages.message))
    app.router.add_get(r"/messages/{id:\d+}/body", local_only(pages.body))
    app.router.add_get(r"/messages/{id:\d+}/files/{number:\d+}", local_only(pages.file))


class Pages:
    """The handlers of the pages."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def index(self, request: web.Request) -> web.Response:
        """Show the newest messages, or those to an address or of an account."""
        to, account = request.query.get("to", ""), request.query.get("account", "")
        older = request.query.get("before", "")
        before = int(older) if older.isascii() and older.isdigit() else None
        found = self._office.inbox.newest(to, account, before, PER_PAGE)
        rows = "".join(_row(message_json(stored)) for stored in found)
        table = f"<table><tr>{_HEADINGS}</tr>{rows}</table>" if rows else _EMPTY
        more = ""
        if len(found) == PER_PAGE:
            query = urlencode({"to": to, "account": account, "before": found[-1].id})
            more = f'<nav><a href="/?{escape(query)}">Older</a></nav>'
        return _page("Inbox", self._counts() + table + more, self._search(to, account))

    async def message(self, request: web.Request) -> web.Response:
        """Show one message: HTML in its frame, text, headers, what was told about it."""
        data = self._find(request)
        events = "".join(_event_row(event) for event in self._office.inbox.events_of(data["id"]))
        headers = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
            for name, value in _envelope(data).items()
        )
        frame = (
            '<iframe sandbox="allow-popups allow-popups-to-escape-sandbox" title="HTML part"'
            f' src="/messages/{data["id"]}/body"></iframe>'
        )
        html = frame if data["html"] else "<p>This message has no HTML part.</p>"
        content = (
            f"<h2>{escape(data['subject'])}</h2>{html}"
            f"<h2>Text</h2><pre>{escape(data['text'])}</pre>"
            f"{_files(data)}<h2>Headers</h2><table>{headers}</table>"
            f"<h2>Metadata</h2><pre>{escape(json.dumps(data['metadata'], indent=2))}</pre>"
            f'<h2>Events</h2><table class="events">{_EVENT_HEADINGS}{events}</table>'
        )
        return _page(data["subject"], content, self._search("", ""))

    async def body(self, request: web.Request) -> web.Response:
        """Return the HTML of a message by itself, harmless."""
        data = self._find(request)
        html = '<base target="_blank">' + self._with_pictures(data)
        return web.Response(text=html, content_type="text/html", headers=_headers(BODY_POLICY))

    def _with_pictures(self, data: dict[str, Any]) -> str:
        """Return the HTML with its inline pictures in it, as a reader shows them."""
        html: str = data["html"]
        for told in data["attachments"]:
            kind, name = told["content_type"].partition(";")[0], told["content_id"]
            if name and f"cid:{name}" in html and kind.startswith("image/"):
                content = content_of(self._office, data["id"], told["sha256"])
                picture = base64.b64encode(content).decode()
                html = html.replace(f"cid:{name}", f"data:{escape(kind)};base64,{picture}")
        return html

    async def file(self, request: web.Request) -> web.Response:
        """Return an attachment as a download, whatever its type says."""
        data, number = self._find(request), int(request.match_info["number"])
        if number >= len(data["attachments"]):
            raise web.HTTPNotFound(text="There is no such file.\n")
        told = data["attachments"][number]
        content = content_of(self._office, data["id"], told["sha256"])
        name = quote(told["filename"], safe="")
        headers = {
            **_headers(BODY_POLICY),
            "Content-Disposition": f"attachment; filename*=utf-8''{name}",
        }
        return web.Response(body=content, content_type="application/octet-stream", headers=headers)

    def _find(self, request: web.Request) -> dict[str, Any]:
        stored = self._office.inbox.message(int(request.match_info["id"]))
        if stored is None:
            raise web.HTTPNotFound(text="There is no such message.\n")
        return message_json(stored)

    def _counts(self) -> str:
        counts = stats(self._office)
        return (
            f"<p>{counts['messages']:,} messages to {counts['recipients']:,} people ·"
            f" {counts['pending_events']:,} events still to tell</p>"
        )

    def _search(self, to: str, account: str) -> str:
        options = "".join(
            f"<option{' selected' if item.name == account else ''}>{escape(item.name)}</option>"
            for item in self._office.accounts
        )
        return (
            '<form action="/"><input name="to" type="search" placeholder="Address"'
            f' value="{escape(to)}" aria-label="Address">'
            '<select name="account" aria-label="Account">'
            f'<option value="">All accounts</option>{options}</select><button>Find</button></form>'
        )


_HEADINGS = "<th>To<th>Subject<th>Account<th>Accepted"
_EVENT_HEADINGS = "<tr><th>Event<th>At<th>Told<th>User agent</tr>"
_EMPTY = (
    '<p class="empty">Nothing here yet. Mail sent through the sandbox shows up on this page.</p>'
)


def _row(data: dict[str, Any]) -> str:
    subject = escape(data["subject"]) or "(no subject)"
    return (
        f"<tr><td>{escape(data['recipient'])}</td>"
        f'<td><a href="/messages/{data["id"]}">{subject}</a></td>'
        f'<td><span class="tag">{escape(data["account"])}</span></td>'
        f'<td class="when">{_when(data["received_at"])}</td></tr>'
    )


def _files(data: dict[str, Any]) -> str:
    if not data["attachments"]:
        return ""
    rows = "".join(
        f'<tr><td><a href="/messages/{data["id"]}/files/{number}">{escape(file["filename"])}</a>'
        f"<td>{escape(file['content_type'])}<td>{file['size']:,} bytes"
        f"<td>{escape(file['content_id'])}</tr>"
        for number, file in enumerate(data["attachments"])
    )
    return f"<h2>Attachments</h2><table><tr><th>File<th>Type<th>Size<th>Shown as</tr>{rows}</table>"


def _event_row(event: dict[str, Any]) -> str:
    by = escape(event["agent"]) if event["type"] in ("open", "click", "unsubscribe") else ""
    told = f"{event['state']} ({event['attempts']} failed)" if event["attempts"] else event["state"]
    kind = escape(event["type"])
    return f"<tr><td>{kind}<td>{_when(event['at'])}<td>{told.replace('_', ' ')}<td>{by}</tr>"


def _envelope(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "From": data["from"],
        "To": data["to"],
        **({"Cc": data["cc"]} if data["cc"] else {}),
        "Subject": data["subject"],
        **data["headers"],
        "Delivered to": data["recipient"],
        **({"Stream": data["stream"]} if data["stream"] else {}),
        "Provider's id": data["provider_message_id"],
    }


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _page(title: str, content: str, search: str) -> web.Response:
    html = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)} · Sandbox'
        '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<style>{STYLE}</style><header><h1><a href="/">Sandbox inbox</a></h1>{search}</header>'
        f"<main>{content}</main></html>"
    )
    return web.Response(text=html, content_type="text/html", headers=_headers(PAGE_POLICY))


def _headers(policy: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
