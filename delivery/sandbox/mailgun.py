"""Mailgun's Messages API and its webhooks.

Copied from documentation (API reference "Messages", user manual "Batch Sending" and "Webhook
Payloads", facts other clients report): path, parameters, 1,000 recipients, 25 MB, one id for the
whole call, `recipient-variables`, "Forbidden", error texts for missing and invalid parameters,
event fields, one event per POST, signature over timestamp and token, `o:tracking`,
`o:tracking-opens` and `o:tracking-clicks` before the domain's own setting.
Guessed: a new domain counts nothing; `o:tracking` off switches both off; a variable nobody gave
stays as it is written; texts for too many recipients or tags; retries are signed anew; a Message-Id
of one's own (h:Message-Id) is what events carry.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from delivery.sandbox.addresses import HEADER_UNSAFE, domain_of, is_valid, parse_all
from delivery.sandbox.calls import (
    Answer,
    Call,
    Content,
    Incoming,
    Letter,
    Occurrence,
    Own,
    Post,
    Refused,
    Shared,
)
from delivery.sandbox.config import Account
from delivery.sandbox.files import contents
from delivery.sandbox.forms import read_posted
from delivery.sandbox.mime import read_mime
from delivery.sandbox.signing import sign_mailgun

MAX_BYTES = 25 * 1024 * 1024
MAX_RECIPIENTS = 1000
MAX_TAGS = 10

TOLD = {
    "delivered": "delivered",
    "defer": "failed",
    "drop": "failed",
    "bounce": "failed",
    "soft_bounce": "failed",
    "block": "failed",
    "open": "opened",
    "click": "clicked",
    "complaint": "complained",
    "unsubscribe": "unsubscribed",
}
"""Our events in Mailgun's words. "accepted" exists, but is not sent to webhooks by default."""

_FAILURES = {
    "defer": ("temporary", "generic", 421, "", "4.7.0 Try again later, closing connection"),
    "soft_bounce": ("temporary", "generic", 452, "4.2.2", "The mailbox is over quota"),
    "bounce": ("permanent", "bounce", 550, "5.1.1", "The email account does not exist"),
    "block": ("permanent", "generic", 550, "5.7.1", "Message rejected as likely unsolicited mail"),
    "drop": (
        "permanent",
        "suppress-bounce",
        605,
        "",
        "Not delivering to previously bounced address",
    ),
}
"""Severity, reason, code, enhanced code and message of what failed."""

_VARIABLE = re.compile(r"%recipient(?:\.([^%\s]+)|_(email|name|fname|lname))?%")


def identify(incoming: Incoming, accounts: Sequence[Account]) -> Account:
    """Return the account whose API key and domain the call names."""
    scheme, _, encoded = incoming.headers.get("authorization", "").partition(" ")
    given = base64.b64decode(encoded + "===") if scheme.lower() == "basic" else b""
    known = [
        account
        for account in accounts
        if hmac.compare_digest(f"api:{account.credentials['api_key']}".encode(), given)
    ]
    if not known:
        raise Refused(Answer(401, b"Forbidden", {"Content-Type": "text/plain"}))
    for account in known:
        if account.domain.lower() == incoming.domain.lower():
            return account
    raise refuse(f"Domain not found: {incoming.domain}", status=404)


def refuse(text: str, status: int = 400) -> Refused:
    """Return Mailgun's refusal, to be raised."""
    return Refused(Answer.json(status, {"message": text}))


def accept(incoming: Incoming, account: Account) -> Call:
    """Check a call as strictly as Mailgun and return its messages."""
    if len(incoming.body) > MAX_BYTES:
        raise refuse("Request Entity Too Large", status=413)
    form, files = read_posted(incoming)
    shared = _shared(form, is_mime=incoming.path.endswith(".mime"))
    shared["files"] = [file.as_json() for file in files]
    people = [_people(form, kind) for kind in ("to", "cc", "bcc")]
    if not people[0]:
        raise refuse("to parameter is missing")
    everybody = [person for kind in people for person in kind]
    if len(everybody) > MAX_RECIPIENTS:
        raise refuse(f"'to' parameter has more than {MAX_RECIPIENTS} recipients")
    stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    call_id = f"<{stamp}.{secrets.token_hex(8)}@{account.domain}>"
    variables = _recipient_variables(form)
    header_to, header_cc = (", ".join(text for _, _, text in kind) for kind in people[:2])
    letters = []
    for name, email, text in everybody:
        own = {"name": name, "email": email, "to": header_to, "cc": header_cc}
        if variables is not None:
            own |= {"to": text, "variables": variables.get(email, {})}
        letters.append(_letter(shared, own, call_id))
    answer = Answer.json(200, {"id": call_id, "message": "Queued. Thank you."})
    return Call(shared, letters, answer, contents(files))


def expand(shared: Shared, own: Own) -> Content:
    """Return what the recipient reads, `%recipient.x%` replaced in bodies, headers, variables."""
    parts = shared
    if "mime" in shared:
        mime = read_mime(shared["mime"].encode("utf-8", "surrogateescape"))
        parts = {**shared, "subject": mime.subject, "html": mime.html, "text": mime.text}
        parts |= {"from": mime.sender, "headers": mime.headers, "files": mime.attachments}
    return Content(
        sender=parts["from"],
        to=own["to"],
        subject=_fill(parts.get("subject", ""), own),
        html=_fill(parts.get("html", ""), own),
        text=_fill(parts.get("text", ""), own),
        headers={name: _fill(value, own) for name, value in parts["headers"].items()},
        metadata=_metadata(shared, own),
        cc=own.get("cc", ""),
        attachments=parts.get("files", []),
    )


def counts(shared: Shared, own: Own) -> frozenset[str]:
    """Return which looks are counted: see `_counted`."""
    return frozenset(shared.get("counted", ()))


def _counted(form: Mapping[str, list[str]]) -> list[str]:
    """Return which looks the call asks to count; without a word, none: as a new domain is."""

    def asks(name: str, otherwise: bool) -> bool:
        given = form.get(name, [""])[-1].lower()
        return given in ("yes", "true", "htmlonly") if given else otherwise

    everything = asks("o:tracking", otherwise=False)
    if "o:tracking" in form and not everything:
        return []
    wanted = {"open": "o:tracking-opens", "click": "o:tracking-clicks"}
    return [look for look, name in wanted.items() if asks(name, everything)]


def posts(account: Account, occurrences: Sequence[Occurrence], base_url: str) -> list[Post]:
    """Return the webhooks for these events: one POST each, signed."""
    return [_post(account, occurrence) for occurrence in occurrences]


def _post(account: Account, occurrence: Occurrence) -> Post:
    timestamp, token = str(int(time.time())), secrets.token_hex(25)
    signature = sign_mailgun(account.signing.get("signing_key", ""), timestamp, token)
    body = {
        "signature": {"token": token, "timestamp": timestamp, "signature": signature},
        "event-data": event_data(account, occurrence),
    }
    headers = {"Content-Type": "application/json", "User-Agent": "mailgun/treq-20.9.0"}
    return Post(account.webhook_url, headers, json.dumps(body).encode(), [occurrence.id])


def event_data(account: Account, occurrence: Occurrence) -> dict[str, Any]:
    """Return the event-data of one event."""
    shared, own = occurrence.shared, occurrence.own
    identity = hashlib.sha256(f"{occurrence.provider_message_id}/{occurrence.id}".encode()).digest()
    event: dict[str, Any] = {
        "id": base64.urlsafe_b64encode(identity[:16]).decode().rstrip("="),
        "event": TOLD[occurrence.type],
        "timestamp": occurrence.at,
        "log-level": "info",
        "recipient": occurrence.recipient,
        "recipient-domain": domain_of(occurrence.recipient),
        "user-variables": _metadata(shared, own),
        "tags": shared["tags"],
        "campaigns": [],
        "domain": {"name": account.domain},
        "message": {
            "headers": {
                "message-id": occurrence.provider_message_id.strip("<>"),
                "from": shared.get("from", ""),
                "to": own["to"],
                "subject": _fill(shared.get("subject", ""), own),
            }
        },
    }
    if occurrence.type in _FAILURES:
        event |= _failure(occurrence)
    elif occurrence.type == "delivered":
        event["delivery-status"] = {"code": 250, "message": "OK", "attempt-no": 1, "tls": True}
    elif occurrence.type != "complaint":
        event |= _engagement(occurrence)
    return event


def _failure(occurrence: Occurrence) -> dict[str, Any]:
    severity, reason, code, enhanced, message = _FAILURES[occurrence.type]
    return {
        "severity": severity,
        "reason": reason,
        "log-level": "warn" if severity == "temporary" else "error",
        "delivery-status": {
            "code": code,
            "enhanced-code": enhanced,
            "message": f"{code} {enhanced} {message}",
            "description": "",
            "attempt-no": 1,
        },
    }


def _engagement(occurrence: Occurrence) -> dict[str, Any]:
    agent = occurrence.agent
    told: dict[str, Any] = {
        "ip": occurrence.ip,
        "geolocation": {"city": "Unknown", "country": "DE", "region": "Unknown"},
        "client-info": {
            "user-agent": agent.user_agent,
            "client-name": agent.client,
            "client-os": agent.os,
            "client-type": agent.client_type,
            "device-type": agent.device,
        },
    }
    if occurrence.type == "click":
        told["url"] = occurrence.url
    return told


def _shared(form: Mapping[str, list[str]], *, is_mime: bool) -> dict[str, Any]:
    """Return what all recipients of the call share. Refuses what is missing or unsafe."""
    shared: dict[str, Any] = {
        "tags": form.get("o:tag", []),
        "counted": _counted(form),
        "variables": {name[2:]: form[name][-1] for name in form if name.startswith("v:")},
    }
    if len(shared["tags"]) > MAX_TAGS or any(len(tag) > 128 for tag in shared["tags"]):
        raise refuse(f"'o:tag' parameter takes at most {MAX_TAGS} tags of 128 characters")
    if is_mime:
        if not form.get("message"):
            raise refuse("message parameter is missing")
        return {**shared, "mime": form["message"][0]}
    headers = {name[2:]: form[name][-1] for name in form if name.startswith("h:")}
    texts = {name: form[name][-1] for name in ("subject", "html", "text") if name in form}
    shared |= {"from": _sender(form), "headers": headers, **texts}
    if not texts.get("html") and not texts.get("text"):
        raise refuse("Need at least one of 'text' or 'html' parameters specified")
    if any(HEADER_UNSAFE.search(value) for value in [*headers.values(), texts.get("subject", "")]):
        raise refuse("headers must not contain line breaks")
    return shared


def _sender(form: Mapping[str, list[str]]) -> str:
    sender = ", ".join(form.get("from", []))
    if not sender:
        raise refuse("from parameter is missing")
    if not all(is_valid(email) for _, email in parse_all(sender)):
        raise refuse("'from' parameter is not a valid address. please check documentation")
    return sender


def _people(form: Mapping[str, list[str]], kind: str) -> list[tuple[str, str, str]]:
    """Return (name, address, as written) of everybody in to, cc or bcc. One bad refuses all."""
    people = []
    for text in form.get(kind, []):
        for name, email in parse_all(text):
            if not is_valid(email):
                message = f"'{kind}' parameter is not a valid address. please check documentation"
                raise refuse(message)
            people.append((name, email, f"{name} <{email}>" if name else email))
    return people


def _recipient_variables(form: Mapping[str, list[str]]) -> Mapping[str, Any] | None:
    """Return the variables by address, or None when the call is no batch."""
    if "recipient-variables" not in form:
        return None
    try:
        variables = json.loads(form["recipient-variables"][-1])
    except ValueError as error:
        raise refuse("'recipient-variables' parameter is not a valid JSON") from error
    if not isinstance(variables, Mapping):
        raise refuse("'recipient-variables' parameter is not a valid JSON")
    return variables


def _letter(shared: Shared, own: Own, call_id: str) -> Letter:
    headers = {name.lower(): value for name, value in shared.get("headers", {}).items()}
    message_id = _fill(headers["message-id"], own) if "message-id" in headers else call_id
    ours = _metadata(shared, own).get("message_id", "")
    return Letter(own["email"], ours, message_id, own)


def _metadata(shared: Shared, own: Own) -> dict[str, str]:
    """Return the call's `v:` variables, filled for this recipient."""
    return {name: _fill(value, own) for name, value in shared["variables"].items()}


def _fill(text: str, own: Own) -> str:
    """Return the text with the recipient's variables in place."""
    if "%recipient" not in text or "variables" not in own:
        return text
    first, _, last = own["name"].partition(" ")
    known = {"email": own["email"], "name": own["name"], "fname": first, "lname": last}

    def value(match: re.Match[str]) -> str:
        name, short = match.groups()
        if name is None:
            return str(known[short] if short else own["to"])
        return str(own["variables"].get(name, match.group()))

    return _VARIABLE.sub(value, text)
