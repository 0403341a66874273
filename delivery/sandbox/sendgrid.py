"""SendGrid's v3 Mail Send and its Event Webhook.

Copied from documentation (API reference "Mail Send" and its "Errors" page, "Event Webhook
Reference", "Understanding and resolving validation errors"): path, bodies, limits, most error
texts, event fields, duplicates refused, signature headers, events in arrays, `tracking_settings`
before the account's own: opens and clicks are on in a new account.
Guessed: the shape of X-Message-Id and sg_message_id (taken from samples), the texts for
substitutions, custom arguments and headers that are too large or unsafe, substitutions applied one
after the other in the order given, headers included. Stored templates are refused as unknown.
"""

import base64
import gzip
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from delivery.sandbox import sendgrid_rules
from delivery.sandbox.calls import (
    Answer,
    Call,
    Content,
    Incoming,
    Letter,
    Occurrence,
    Own,
    Post,
    Shared,
)
from delivery.sandbox.config import Account
from delivery.sandbox.files import File, contents, decode
from delivery.sandbox.sendgrid_rules import MAX_BYTES, refuse
from delivery.sandbox.signing import sign_sendgrid

EVENTS_PER_POST = 500

TOLD = {
    "processed": "processed",
    "delivered": "delivered",
    "defer": "deferred",
    "drop": "dropped",
    "bounce": "bounce",
    "soft_bounce": "bounce",
    "block": "bounce",
    "open": "open",
    "click": "click",
    "complaint": "spamreport",
    "unsubscribe": "unsubscribe",
}
"""Our events in SendGrid's words. What is missing here is not told."""

_DETAILS: Mapping[str, Mapping[str, Any]] = {
    "delivered": {"response": "250 2.0.0 OK: queued as 4XJf0b1q2Rz9sP"},
    "defer": {"response": "421 4.7.0 Try again later, closing connection", "attempt": "1"},
    "drop": {"reason": "Bounced Address", "status": "5.0.0"},
    "bounce": {
        "type": "bounce",
        "status": "5.1.1",
        "bounce_classification": "Invalid Address",
        "reason": "550 5.1.1 The email account that you tried to reach does not exist.",
    },
    "soft_bounce": {
        "type": "bounce",
        "status": "4.2.2",
        "bounce_classification": "Mailbox Unavailable",
        "reason": "452 4.2.2 The email account that you tried to reach is over quota.",
    },
    "block": {
        "type": "blocked",
        "status": "5.7.1",
        "bounce_classification": "Reputation",
        "reason": "550 5.7.1 Our system has detected that this message is likely unsolicited mail.",
    },
}


def identify(incoming: Incoming, accounts: Sequence[Account]) -> Account:
    """Return the account whose API key the call carries."""
    scheme, _, key = incoming.headers.get("authorization", "").partition(" ")
    for account in accounts:
        known = account.credentials["api_key"]
        if scheme.lower() == "bearer" and hmac.compare_digest(known.encode(), key.encode()):
            return account
    text = "The provided authorization grant is invalid, expired, or revoked"
    raise refuse(text, status=401)


def accept(incoming: Incoming, account: Account) -> Call:
    """Check a call as strictly as SendGrid and return its messages."""
    data = _parse(incoming)
    sendgrid_rules.check(data, account)
    call_id = secrets.token_urlsafe(16)
    files = [_file(told) for told in data.pop("attachments", None) or []]
    data["files"] = [file.as_json() for file in files]
    letters: list[Letter] = []
    for part in data.pop("personalizations"):
        letters.extend(_letters(data, part, f"{call_id}.recvd-5f4d8b-{len(letters)}"))
    answer = Answer(202, headers={"X-Message-Id": call_id})
    return Call({**data, "call": call_id}, letters, answer, contents(files))


def expand(shared: Shared, own: Own) -> Content:
    """Return what the recipient reads: each substitution replaced literally, in its order."""
    bodies = {part["type"]: part["value"] for part in shared.get("content", [])}
    sender = own.get("from") or shared["from"]
    headers = {**shared.get("headers", {}), **own.get("headers", {})}
    subject = own.get("subject") or shared.get("subject", "")

    def fill(text: str) -> str:
        for key, value in own.get("substitutions", {}).items():
            text = text.replace(key, value or "")
        return text

    return Content(
        sender=_mailbox(sender),
        to=", ".join(_mailbox(to) for to in own["to"]),
        subject=fill(subject),
        html=fill(bodies.get("text/html", "")),
        text=fill(bodies.get("text/plain", "")),
        headers={name: fill(value) for name, value in headers.items()},
        metadata=_arguments(shared, own),
        cc=", ".join(_mailbox(person) for person in own.get("cc", [])),
        attachments=shared.get("files", []),
    )


def counts(shared: Shared, own: Own) -> frozenset[str]:
    """Return which looks are counted: `tracking_settings`, else as a new account is set up."""
    asked = shared.get("tracking_settings") or {}
    named = {"open": asked.get("open_tracking"), "click": asked.get("click_tracking")}
    return frozenset(name for name, told in named.items() if (told or {}).get("enable", True))


def posts(account: Account, occurrences: Sequence[Occurrence], base_url: str) -> list[Post]:
    """Return the webhooks for these events: arrays of up to 500, signed."""
    return [
        _post(account, occurrences[start : start + EVENTS_PER_POST])
        for start in range(0, len(occurrences), EVENTS_PER_POST)
    ]


def _post(account: Account, occurrences: Sequence[Occurrence]) -> Post:
    events = [_event(occurrence) for occurrence in occurrences]
    # SendGrid ends the array and the body with line breaks; they are part of what is signed.
    body = json.dumps(events, separators=(",", ":")).encode() + b"\r\n"
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json;charset=utf-8",
        "User-Agent": "SendGrid Event API",
    }
    if account.signing.get("private_key"):
        signature = sign_sendgrid(account.signing["private_key"], timestamp, body)
        headers["X-Twilio-Email-Event-Webhook-Signature"] = signature
        headers["X-Twilio-Email-Event-Webhook-Timestamp"] = timestamp
    return Post(account.webhook_url, headers, body, [item.id for item in occurrences])


def _event(occurrence: Occurrence) -> dict[str, Any]:
    """Return one event, the custom arguments flattened into it as SendGrid does."""
    name = TOLD[occurrence.type]
    call_id = occurrence.provider_message_id.partition(".")[0]
    identity = f"{occurrence.provider_message_id}/{occurrence.id}".encode()
    event: dict[str, Any] = {
        **_arguments(occurrence.shared, occurrence.own),
        "email": occurrence.recipient,
        "event": name,
        "timestamp": int(occurrence.at),
        "sg_event_id": base64.urlsafe_b64encode(hashlib.sha256(identity).digest()[:16]).decode(),
        "sg_message_id": occurrence.provider_message_id,
        **_DETAILS.get(occurrence.type, {}),
    }
    if occurrence.shared.get("categories"):
        event["category"] = occurrence.shared["categories"]
    if name in ("processed", "delivered", "deferred", "dropped", "bounce"):
        event["smtp-id"] = f"<{call_id}@geopod-ismtpd-1>"
        event["ip"] = "149.72.10.20"
    if name in ("open", "click", "unsubscribe"):
        event |= {"useragent": occurrence.agent.user_agent, "ip": occurrence.ip}
    if name == "open":
        event |= {"sg_machine_open": occurrence.agent.is_apple, "sg_content_type": "html"}
    if name == "click":
        offset = {"index": occurrence.pick % 8, "type": "html"}
        event |= {"url": occurrence.url, "url_offset": offset}
    if name in ("delivered", "bounce"):
        event["tls"] = 1
    return event


def _parse(incoming: Incoming) -> dict[str, Any]:
    """Return the body. Refuses what is no JSON object or too large."""
    body = incoming.body
    if incoming.headers.get("content-encoding") == "gzip" and body[:2] == b"\x1f\x8b":
        body = gzip.decompress(body)
    if len(body) >= MAX_BYTES:
        raise refuse("The JSON payload you have included in your request is too large.", status=413)
    if not incoming.headers.get("content-type", "").startswith("application/json"):
        raise refuse("Content-Type should be application/json.", status=415)
    try:
        data = json.loads(body)
    except ValueError as error:
        raise refuse("Bad Request") from error
    if not isinstance(data, dict):
        raise refuse("Bad Request")
    return data


def _file(told: Mapping[str, Any]) -> File:
    """Return an attachment; `check` has seen that it is one."""
    kind = str(told.get("type") or "application/octet-stream")
    content_id = str(told.get("content_id") or "")
    return File(str(told["filename"]), kind, decode(told["content"]), content_id)


def _letters(data: Mapping[str, Any], part: dict[str, Any], message: str) -> list[Letter]:
    """Return one letter for each address of a personalization; they share what it says."""
    ours = str(_arguments(data, part).get("message_id", ""))
    people = [*part["to"], *part.get("cc", []), *part.get("bcc", [])]
    return [
        Letter(person["email"], ours, f"{message}.{number}", part)
        for number, person in enumerate(people)
    ]


def _arguments(shared: Shared, own: Own) -> dict[str, Any]:
    """Return the custom arguments; a personalization's own win."""
    return {**shared.get("custom_args", {}), **own.get("custom_args", {})}


def _mailbox(person: Mapping[str, Any]) -> str:
    name, email = person.get("name"), person["email"]
    return f"{name} <{email}>" if name else str(email)
