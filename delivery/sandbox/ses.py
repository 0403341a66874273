"""Amazon SES v2: SendEmail and SendBulkEmail (with an inline template), and its events through SNS.

Copied from documentation (API reference v2, the service model that boto3 carries, developer guide
"Examples of event data that Amazon SES publishes to Amazon SNS", SNS "HTTP/HTTPS headers" and
"message formats"): paths, signature, 50 destinations, 1 MB with an inline template, limits of
headers, tags and template data, error names and statuses, one result per entry, "Rendering Failure"
when a template variable is missing, event fields, opens and clicks by configuration set.
Guessed: texts for too many destinations and too large a call; that a bad address fails its entry
alone in a bulk call; `Send` and `Reject` are told like all other events (a real event destination
chooses): every configuration set has one with all types. Stored templates are refused as not found.
"""

import base64
import hmac
import json
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from delivery.sandbox import sigv4
from delivery.sandbox.calls import (
    LOOKS,
    NO_LOOKS,
    Answer,
    Call,
    Content,
    Incoming,
    Letter,
    Own,
    Shared,
)
from delivery.sandbox.config import Account
from delivery.sandbox.mime import read_headers, read_mime
from delivery.sandbox.ses_rules import (
    EntryRefused,
    check_people,
    check_tags,
    checked_sender,
    named_headers,
    read_destination,
    read_tags,
    read_template,
    read_values,
    refuse,
    with_reply_to,
)

MAX_DESTINATIONS = 50
MAX_INLINE_BYTES = 1024 * 1024
MAX_MIME_BYTES = 40 * 1024 * 1024

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_.-]+)\s*\}\}")


def identify(incoming: Incoming, accounts: Sequence[Account]) -> Account:
    """Return the account whose secret the call is signed with."""
    try:
        key = sigv4.access_key_id(incoming)
        for account in accounts:
            if hmac.compare_digest(account.credentials["access_key_id"].encode(), key.encode()):
                sigv4.verify(incoming, account.credentials["secret_access_key"])
                return account
    except sigv4.Unsigned as error:
        text = "Missing Authentication Token"
        raise refuse("MissingAuthenticationTokenException", text, 403) from error
    except sigv4.BadSignature as error:
        raise refuse("SignatureDoesNotMatch", str(error), 403) from error
    text = "The security token included in the request is invalid."
    raise refuse("InvalidClientTokenId", text, 403)


def accept(incoming: Incoming, account: Account) -> Call:
    """Check a call as strictly as SES and return its messages."""
    try:
        data = json.loads(incoming.body)
    except ValueError as error:
        raise refuse("SerializationException", "The body is no JSON.") from error
    check_tags(data.get("EmailTags") or data.get("DefaultEmailTags") or [])
    if incoming.path.endswith("outbound-bulk-emails"):
        return _accept_bulk(data, account, len(incoming.body))
    return _accept_one(data, account)


def counts(shared: Shared, own: Own) -> frozenset[str]:
    """Return which looks are counted: those of mail that names a configuration set."""
    return LOOKS if shared.get("configuration_set") else NO_LOOKS


def expand(shared: Shared, own: Own) -> Content:
    """Return what the recipient reads: `{{x}}` replaced, nothing escaped."""
    if "raw" in own:
        return _expand_mime(shared, own)
    template, values = shared["template"], own["values"]
    return Content(
        sender=shared["from"],
        to=own["to"],
        subject=_fill(template.get("Subject", ""), values),
        html=_fill(template.get("Html", ""), values),
        text=_fill(template.get("Text", ""), values),
        headers={**shared["headers"], **own["headers"]},
        metadata={**_metadata(own["headers"]), **shared["tags"], **own["tags"]},
    )


def new_message_id() -> str:
    """Return an id of the shape SES gives its messages."""
    return f"0100{int(time.time() * 1000):012x}-{uuid.uuid4()}-000000"


def _accept_bulk(data: Mapping[str, Any], account: Account, size: int) -> Call:
    entries = data.get("BulkEmailEntries") or []
    if not 1 <= len(entries) <= MAX_DESTINATIONS:
        text = f"The number of destinations must be between 1 and {MAX_DESTINATIONS}."
        raise refuse("BadRequestException", text)
    if size > MAX_INLINE_BYTES:
        text = "The request with an inline template is larger than 1 MB."
        raise refuse("BadRequestException", text)
    template = read_template((data.get("DefaultContent") or {}).get("Template"))
    headers = named_headers((data["DefaultContent"]["Template"]).get("Headers"))
    shared = {
        "from": checked_sender(data, account),
        "reply_to": data.get("ReplyToAddresses") or [],
        "template": template["content"],
        "headers": with_reply_to(headers, data),
        "tags": read_tags(data.get("DefaultEmailTags")),
        "configuration_set": data.get("ConfigurationSetName") or "",
    }
    checked = [_entry(entry, template["values"]) for entry in entries]
    letters: list[Letter] = []
    results = []
    for own, people in checked:
        try:
            accepted = _entry_letters(shared, own, people)
        except EntryRefused as error:
            results.append({"Status": "INVALID_PARAMETER", "Error": str(error)})
        else:
            letters.extend(accepted)
            message = accepted[0].provider_message_id
            results.append({"Status": "SUCCESS", "MessageId": message})
    return Call(shared, letters, Answer.json(200, {"BulkEmailEntryResults": results}))


def _entry(entry: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[Own, list[str]]:
    """Return what an entry says and whom it goes to. Malformed parts refuse the whole call."""
    destination = entry.get("Destination") or {}
    content = (entry.get("ReplacementEmailContent") or {}).get("ReplacementTemplate") or {}
    values = read_values(content.get("ReplacementTemplateData"))
    check_tags(entry.get("ReplacementTags") or [])
    own = {
        "to": ", ".join(destination.get("ToAddresses") or []),
        "values": {**defaults, **values},
        "headers": named_headers(entry.get("ReplacementHeaders")),
        "tags": read_tags(entry.get("ReplacementTags")),
    }
    return own, read_destination(destination)


def _entry_letters(shared: Shared, own: Own, people: Sequence[str]) -> list[Letter]:
    check_people(people)
    metadata = {**_metadata(own["headers"]), **shared["tags"], **own["tags"]}
    needed = {name for text in shared["template"].values() for name in _VARIABLE.findall(text)}
    message, ours = new_message_id(), str(metadata.get("message_id", ""))
    is_unrenderable = not needed <= set(own["values"])
    return [Letter(email, ours, message, own, is_unrenderable) for email in people]


def _accept_one(data: Mapping[str, Any], account: Account) -> Call:
    """Return the messages of SendEmail: raw, simple, or an inline template."""
    content = data.get("Content") or {}
    people = read_destination(data.get("Destination") or {})
    if len(people) > MAX_DESTINATIONS:
        text = f"Recipient count exceeds {MAX_DESTINATIONS}."
        raise refuse("BadRequestException", text)
    if not people:
        raise refuse("BadRequestException", "Must have at least one recipient.")
    try:
        check_people(people)
    except EntryRefused as error:
        raise refuse("BadRequestException", str(error)) from error
    tags = read_tags(data.get("EmailTags"))
    if "Raw" in content:
        letters, shared = _raw_letters(data, account, people, tags)
    else:
        letters, shared = _formatted_letters(data, account, people, tags)
    answer = Answer.json(200, {"MessageId": letters[0].provider_message_id})
    named = {"configuration_set": data.get("ConfigurationSetName") or ""}
    return Call({**shared, **named}, letters, answer)


def _raw_letters(
    data: Mapping[str, Any], account: Account, people: Sequence[str], tags: Mapping[str, str]
) -> tuple[list[Letter], Shared]:
    raw = base64.b64decode(data["Content"]["Raw"].get("Data") or "")
    if not raw or len(raw) > MAX_MIME_BYTES:
        raise refuse("BadRequestException", "The message must have 1 byte to 40 MB.")
    mime = read_headers(raw)
    checked_sender({"FromEmailAddress": data.get("FromEmailAddress") or mime.sender}, account)
    ours = str(tags.get("message_id") or mime.metadata.get("message_id", ""))
    own: dict[str, Any] = {"raw": raw.decode("utf-8", "surrogateescape")}
    own |= {"to": mime.to or people[0], "people": people}
    message = new_message_id()
    shared = {"tags": tags, "from": data.get("FromEmailAddress") or ""}
    return [Letter(email, ours, message, own) for email in people], shared


def _formatted_letters(
    data: Mapping[str, Any], account: Account, people: Sequence[str], tags: Mapping[str, str]
) -> tuple[list[Letter], Shared]:
    content = data["Content"]
    if "Simple" in content:
        simple = content["Simple"]
        body = simple.get("Body") or {}
        parts = {"Subject": simple["Subject"], **body}
        texts = {name: part["Data"] for name, part in parts.items()}
        # A simple message is no template: what looks like a variable in it stays as it is.
        # Its texts are the values of a template that says nothing else.
        skeleton = {name: f"{{{{{name}}}}}" for name in texts}
        template: dict[str, Any] = {"content": skeleton, "values": texts}
    else:
        template = read_template(content.get("Template"))
    headers = named_headers((content.get("Simple") or content.get("Template") or {}).get("Headers"))
    shared = {
        "from": checked_sender(data, account),
        "template": template["content"],
        "headers": with_reply_to(headers, data),
        "tags": tags,
    }
    own = {"to": ", ".join(people), "values": template["values"], "headers": {}, "tags": {}}
    return _entry_letters(shared, own, people), shared


def _expand_mime(shared: Shared, own: Own) -> Content:
    mime = read_mime(own["raw"].encode("utf-8", "surrogateescape"))
    metadata = {**mime.metadata, **shared["tags"]}
    sender = shared["from"] or mime.sender
    parts = (sender, mime.to, mime.subject, mime.html, mime.text, mime.headers)
    return Content(*parts, metadata, mime.cc, mime.attachments)


def _metadata(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return what Anymail puts into an X-Metadata header."""
    for name, value in headers.items():
        if name.lower() == "x-metadata":
            try:
                return dict(json.loads(value))
            except (ValueError, TypeError):
                return {}
    return {}


def _fill(text: str, values: Mapping[str, Any]) -> str:
    """Return the text with its variables replaced; one that is missing stays."""
    return _VARIABLE.sub(lambda match: str(values.get(match.group(1), match.group())), text)
