"""Postmark's /email and /email/batch, and its webhooks.

Copied from documentation (developer pages "Email API", "API overview: error codes", "Bounce /
Delivery / Open / Click / Spam complaint / Subscription change webhook") and from the texts that
Anymail and Postmark's own clients parse: paths, limits of 500 messages, 50 MB, 10 MB and 50
recipients, error codes, one result per entry in the order of the request, event fields, TrackOpens
and TrackLinks: off unless a message asks, as in a new server.
Guessed: the HTTP status of code 409, texts for metadata, tags, files and sizes. The bulk API and
stored templates are not spoken.
"""

import hmac
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from delivery.sandbox.addresses import HEADER_UNSAFE, domain_of, is_valid, parse, parse_all
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
from delivery.sandbox.files import File, Unreadable, contents, decode, is_type
from delivery.sandbox.signing import basic_auth

MAX_MESSAGES = 500
MAX_BYTES = 50 * 1024 * 1024
MAX_MESSAGE_BYTES = 10 * 1024 * 1024
MAX_RECIPIENTS = 50
MAX_METADATA = 10
STREAMS = {"outbound", "broadcast"}

TOLD = {
    "delivered": "Delivery",
    "defer": "Bounce",
    "bounce": "Bounce",
    "soft_bounce": "Bounce",
    "block": "Bounce",
    "drop": "Bounce",
    "open": "Open",
    "click": "Click",
    "complaint": "SpamComplaint",
    "unsubscribe": "SubscriptionChange",
}
"""Our events in Postmark's words. It says nothing of a message merely processed."""

_BOUNCES = {
    "defer": ("Transient", 2, "Message delayed", "smtp;421 4.7.0 Try again later"),
    "bounce": ("HardBounce", 1, "Hard bounce", "smtp;550 5.1.1 The account does not exist"),
    "soft_bounce": ("SoftBounce", 4096, "Soft bounce", "smtp;452 4.2.2 The mailbox is full"),
    "block": ("Blocked", 100006, "ISP block", "smtp;550 5.7.1 Likely unsolicited mail"),
    "drop": ("ManuallyDeactivated", 100002, "Manually deactivated", "The address is deactivated"),
    "complaint": ("SpamComplaint", 100001, "Spam complaint", "Complaint feedback loop"),
}
"""Type, TypeCode, Name and Details. TypeCodes from the page "Bounce types"."""


class _EntryRefused(Exception):
    """One message of a call is refused; `code` is Postmark's ErrorCode."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def identify(incoming: Incoming, accounts: Sequence[Account]) -> Account:
    """Return the account whose server token the call carries."""
    token = incoming.headers.get("x-postmark-server-token", "")
    for account in accounts:
        known = account.credentials["server_token"]
        if hmac.compare_digest(known.encode(), token.encode()):
            return account
    raise refuse(
        10,
        "The Server Token you provided in the X-Postmark-Server-Token request header was invalid."
        " Please verify that you are using a valid token.",
        status=401,
    )


def refuse(code: int, text: str, status: int = 422) -> Refused:
    """Return Postmark's refusal of a whole call, to be raised."""
    return Refused(Answer.json(status, {"ErrorCode": code, "Message": text}))


def accept(incoming: Incoming, account: Account) -> Call:
    """Check a call as strictly as Postmark and return its messages.

    A batch is answered 200 with one result per entry, whatever became of them.
    """
    data = _parse(incoming)
    is_batch = incoming.path.endswith("/batch")
    if isinstance(data, list) is not is_batch:
        raise refuse(403, "Incompatible JSON: the fields do not fit this call.")
    entries = data if is_batch else [data]
    if len(entries) > MAX_MESSAGES:
        text = f"Too many batch messages: {len(entries)}; the limit is {MAX_MESSAGES} per call."
        raise refuse(410, text)
    letters: list[Letter] = []
    results = []
    kept: dict[str, bytes] = {}
    for entry in entries:
        try:
            accepted, inactive, files = _letters(entry, account, incoming)
        except _EntryRefused as error:
            results.append({"ErrorCode": error.code, "Message": str(error)})
        else:
            letters.extend(accepted)
            kept.update(contents(files))
            results.append(_accepted(entry, accepted[0].provider_message_id, inactive))
    if not is_batch and results[0]["ErrorCode"]:
        raise Refused(Answer.json(422, results[0]))
    return Call({}, letters, Answer.json(200, results if is_batch else results[0]), kept)


def expand(shared: Shared, own: Own) -> Content:
    """Return what the recipient reads: Postmark fills nothing in, the message is as sent."""
    return Content(
        sender=own["From"],
        to=own["To"],
        subject=own.get("Subject") or "",
        html=own.get("HtmlBody") or "",
        text=own.get("TextBody") or "",
        headers={
            item["Name"]: item["Value"]
            for item in own.get("Headers") or []
            if item["Name"].lower() != "x-pm-keepid"
        },
        metadata=own.get("Metadata") or {},
        cc=own.get("Cc") or "",
        attachments=own.get("Attachments") or [],
        stream=own.get("MessageStream") or "outbound",
    )


def counts(shared: Shared, own: Own) -> frozenset[str]:
    """Return which looks are counted. Links are followed in the HTML, if there is one."""
    part = "HtmlOnly" if own.get("HtmlBody") else "TextOnly"
    wanted = {
        "open": own.get("TrackOpens") is True,
        "click": own.get("TrackLinks") in ("HtmlAndText", part),
    }
    return frozenset(look for look, is_wanted in wanted.items() if is_wanted)


def posts(account: Account, occurrences: Sequence[Occurrence], base_url: str) -> list[Post]:
    """Return the webhooks for these events: one POST each, with basic auth."""
    headers = {"Content-Type": "application/json", "User-Agent": "Postmark"}
    if account.signing.get("user"):
        given = account.signing
        headers["Authorization"] = basic_auth(given["user"], given.get("password", ""))
    return [
        Post(account.webhook_url, headers, json.dumps(record_of(item)).encode(), [item.id])
        for item in occurrences
    ]


def record_of(occurrence: Occurrence) -> dict[str, Any]:
    kind = TOLD[occurrence.type]
    own = occurrence.own
    event: dict[str, Any] = {
        "RecordType": kind,
        "MessageID": occurrence.provider_message_id,
        "MessageStream": own.get("MessageStream") or "outbound",
        "ServerID": 23,
        "Tag": own.get("Tag") or "",
        "Metadata": own.get("Metadata") or {},
    }
    at = datetime.fromtimestamp(occurrence.at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
    if kind == "Delivery":
        details = "Test delivery webhook details"
        return event | {"Recipient": occurrence.recipient, "DeliveredAt": at, "Details": details}
    if kind == "SubscriptionChange":
        return event | {
            "Recipient": occurrence.recipient,
            "ChangedAt": at,
            "Origin": "Recipient",
            "SuppressSending": True,
            "SuppressionReason": "ManualSuppression",
        }
    if kind in ("Open", "Click"):
        return event | _engagement(occurrence, at)
    return event | _bounce(occurrence, at)


def _engagement(occurrence: Occurrence, at: str) -> dict[str, Any]:
    agent = occurrence.agent
    told: dict[str, Any] = {
        "Recipient": occurrence.recipient,
        "ReceivedAt": at,
        "UserAgent": agent.user_agent,
        "Platform": {"mobile": "Mobile", "desktop": "Desktop"}.get(agent.device, "Unknown"),
        "Client": {"Name": agent.client, "Company": "", "Family": agent.client},
        "OS": {"Name": agent.os, "Company": "", "Family": agent.os},
        "Geo": {"IP": occurrence.ip, "CountryISOCode": "DE", "Country": "Germany"},
    }
    if occurrence.type == "click":
        return told | {"ClickLocation": "HTML", "OriginalLink": occurrence.url}
    return told | {"FirstOpen": True}


def _bounce(occurrence: Occurrence, at: str) -> dict[str, Any]:
    kind, code, name, details = _BOUNCES[occurrence.type]
    own = occurrence.own
    return {
        "ID": occurrence.id + 4_000_000_000,
        "Type": kind,
        "TypeCode": code,
        "Name": name,
        "Description": f"{name}.",
        "Details": details,
        "Email": occurrence.recipient,
        "From": parse(own["From"])[1],
        "BouncedAt": at,
        "DumpAvailable": True,
        "Inactive": occurrence.type in ("bounce", "complaint", "drop"),
        "CanActivate": occurrence.type != "complaint",
        "Subject": own.get("Subject") or "",
    }


def _parse(incoming: Incoming) -> Any:
    """Return the body. Refuses what is no JSON or too large."""
    if len(incoming.body) > MAX_BYTES:
        raise refuse(300, "The request is larger than 50 MB.", status=413)
    kinds = [incoming.headers.get(name, "") for name in ("accept", "content-type")]
    if not all("application/json" in kind for kind in kinds):
        text = "The HTTP request needs its Accept and Content-Type headers set to application/json."
        raise refuse(409, text)
    try:
        return json.loads(incoming.body)
    except ValueError as error:
        raise refuse(402, "The JSON you sent is syntactically incorrect.") from error


def _letters(
    entry: Any, account: Account, incoming: Incoming
) -> tuple[list[Letter], list[str], list[File]]:
    """Return one letter per recipient of an entry, who is inactive and gets none, and the files."""
    if not isinstance(entry, Mapping):
        raise _EntryRefused(403, "Incompatible JSON: a message is an object.")
    _check_sender(str(entry.get("From") or ""), account)
    people = [email for kind in ("To", "Cc", "Bcc") for email in _people(entry, kind)]
    if not people:
        raise _EntryRefused(300, "Zero recipients specified")
    if len(people) > MAX_RECIPIENTS:
        text = f"Recipient limit exceeded. You may send to at most {MAX_RECIPIENTS} recipients."
        raise _EntryRefused(300, text)
    _check_content(entry)
    files = [_file(told) for told in entry.get("Attachments") or []]
    _check_size(entry, files)
    inactive = [email for email in people if _is_inactive(email, account, incoming)]
    people = [email for email in people if email not in inactive]
    if not people:
        raise _EntryRefused(
            406,
            "You tried to send to recipient(s) that have been marked as inactive. Found inactive"
            f" addresses: {_inactive_text(inactive)}",
        )
    message = str(uuid.uuid4())
    ours = str((entry.get("Metadata") or {}).get("message_id", ""))
    own = {**entry, "Attachments": [file.as_json() for file in files]}
    return [Letter(email, ours, message, own) for email in people], inactive, files


def _file(told: Any) -> File:
    """Return an attachment. Refuses what lacks a name, a type or content."""
    if not isinstance(told, Mapping):
        raise _EntryRefused(403, "Incompatible JSON: an attachment is an object.")
    name, kind = str(told.get("Name") or ""), str(told.get("ContentType") or "")
    try:
        content = decode(told.get("Content"))
    except Unreadable as error:
        raise _EntryRefused(300, f"The attachment '{name}' has no base64 content.") from error
    if not name or not is_type(kind) or HEADER_UNSAFE.search(name):
        raise _EntryRefused(300, "An attachment needs Name, ContentType and Content.")
    content_id = str(told.get("ContentID") or "")
    if content_id and not content_id.startswith("cid:"):
        raise _EntryRefused(300, "The ContentID of an attachment begins with 'cid:'.")
    return File(name, kind, content, content_id.removeprefix("cid:"))


def _check_size(entry: Mapping[str, Any], files: Sequence[File]) -> None:
    """Refuse more than 10 MB of bodies and files, the files as they travel: in base64."""
    bodies = (str(entry.get(name) or "") for name in ("TextBody", "HtmlBody"))
    size = sum(len(body.encode()) for body in bodies)
    size += sum(-(-len(file.content) // 3) * 4 for file in files)
    if size > MAX_MESSAGE_BYTES:
        raise _EntryRefused(300, "The message is larger than 10 MB.")


def _is_inactive(email: str, account: Account, incoming: Incoming) -> bool:
    """Whether the address once bounced, or says that it is inactive (`inactive+x@…`)."""
    return email.lower().startswith("inactive+") or incoming.is_inactive(account.name, email)


def _inactive_text(emails: Sequence[str]) -> str:
    return (
        f"{', '.join(email.lower() for email in emails)}. Inactive recipients are ones"
        " that have generated a hard bounce, a spam complaint, or a manual suppression."
    )


def _check_sender(sender: str, account: Account) -> None:
    _, email = parse(sender)
    if not is_valid(email):
        raise _EntryRefused(300, f"Invalid 'From' address: '{email}'.")
    if account.domain and domain_of(email) != account.domain.lower():
        raise _EntryRefused(
            400,
            f"The 'From' address you supplied ({email}) is not a Sender Signature on your account."
            " Please add and confirm a new Sender Signature with that address before sending.",
        )


def _people(entry: Mapping[str, Any], kind: str) -> list[str]:
    """Return the addresses in To, Cc or Bcc."""
    emails = [email for _, email in parse_all(str(entry.get(kind) or ""))]
    for email in emails:
        if "@" not in email:
            text = f"Error parsing '{kind}': Illegal email address '{email}'. It must contain the"
            raise _EntryRefused(300, f"{text} '@' symbol.")
        if not is_valid(email):
            raise _EntryRefused(300, f"Invalid '{kind}' address: '{email}'.")
    return emails


def _check_content(entry: Mapping[str, Any]) -> None:
    bodies = [str(entry.get(name) or "") for name in ("TextBody", "HtmlBody")]
    if not any(bodies):
        raise _EntryRefused(300, "Provide either email TextBody or HtmlBody or both.")
    stream = entry.get("MessageStream")
    if stream and stream not in STREAMS:
        text = "The 'MessageStream' provided does not exist on this server."
        raise _EntryRefused(1235, text)
    if len(str(entry.get("Subject") or "")) > 2000 or len(str(entry.get("Tag") or "")) > 1000:
        raise _EntryRefused(300, "The Subject may have 2000 characters, the Tag 1000.")
    _check_metadata(entry.get("Metadata") or {})
    lines = [str(entry.get("Subject") or "")]
    lines += [f"{item['Name']}{item['Value']}" for item in entry.get("Headers") or []]
    if any(HEADER_UNSAFE.search(line) for line in lines):
        raise _EntryRefused(300, "Headers must not contain line breaks.")


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    """Refuse more than 10 fields, names over 20 and values over 80 characters."""
    fits = all(len(key) <= 20 and len(str(value)) <= 80 for key, value in metadata.items())
    if len(metadata) > MAX_METADATA or not fits:
        raise _EntryRefused(
            300,
            "Invalid metadata content. Metadata has a limit of 10 fields, with names of 20"
            " characters and values of 80 characters.",
        )


def _accepted(entry: Mapping[str, Any], message: str, inactive: Sequence[str]) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
    text = "OK"
    if inactive:
        text = "Message OK, but will not deliver to these inactive addresses: "
        text += _inactive_text(inactive)
    said = {"ErrorCode": 0, "Message": text, "MessageID": message, "SubmittedAt": now}
    return {"To": entry.get("To", ""), **said}
