"""What SendGrid refuses, in its own words where they are published (see `sendgrid`)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from delivery.sandbox.addresses import HEADER_UNSAFE, domain_of, is_valid
from delivery.sandbox.calls import Answer, Refused
from delivery.sandbox.config import Account
from delivery.sandbox.files import Unreadable, decode, is_type

MAX_BYTES = 30 * 1024 * 1024
MAX_RECIPIENTS = 1000
MAX_PERSONALIZATION_BYTES = 10_000
"""Of substitutions and of custom arguments, for each personalization."""
MAX_CATEGORIES = 10

RESERVED_HEADERS = {
    *("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type"),
    *("content-transfer-encoding", "to", "from", "subject", "reply-to", "cc", "bcc"),
}

NOT_VERIFIED = (
    "The from address does not match a verified Sender Identity. Mail cannot be sent until this"
    " error is resolved. Visit https://sendgrid.com/docs/for-developers/sending-email/"
    "sender-identity/ to see the Sender Identity requirements"
)
NEEDS_EMAIL = (
    "Each {kind} object must at least have an email address and may also contain a name. e.g."
    ' {{"email": "example@example.com"}} or {{"email": "example@example.com", "name": "Example'
    ' Recipient"}}.'
)


def refuse(text: str, field: str | None = None, status: int = 400) -> Refused:
    """Return SendGrid's refusal, to be raised."""
    return Refused(
        Answer.json(status, {"errors": [{"message": text, "field": field, "help": None}]})
    )


def check(data: Mapping[str, Any], account: Account) -> None:
    """Refuse a call that SendGrid would refuse; the first fault found is told."""
    _check_sender(data, account)
    _check_content(data)
    parts = data.get("personalizations")
    if not isinstance(parts, list) or not parts:
        raise refuse("You must have at least one personalization.", "personalizations")
    if len(parts) > MAX_RECIPIENTS:
        raise refuse(
            f"The personalization block is limited to {MAX_RECIPIENTS} personalizations per API"
            f" request. You have provided {len(parts)} personalizations. Please consider splitting"
            " this into multiple requests and resending your request.",
            "personalizations",
        )
    if not data.get("subject") and not all(part.get("subject") for part in parts):
        raise refuse(
            "The subject is required. You can get around this requirement if you use a template"
            " with a subject defined or if every personalization has a subject defined.",
            "subject",
        )
    for number, part in enumerate(parts):
        _check_personalization(part, f"personalizations.{number}")
    _check_recipients(parts)
    _check_headers(data.get("headers"), "headers")
    _check_arguments(data.get("custom_args"), "custom_args")
    for number, told in enumerate(data.get("attachments") or []):
        _check_attachment(told, f"attachments.{number}")


def _check_attachment(told: Mapping[str, Any], field: str) -> None:
    try:
        decode(told.get("content"))
    except Unreadable as error:
        text = "The attachment content must be base64 encoded."
        raise refuse(text, f"{field}.content") from error
    name, kind = str(told.get("filename") or ""), told.get("type")
    if not name or HEADER_UNSAFE.search(name):
        raise refuse("The filename must be a string without CRLF characters.", f"{field}.filename")
    if kind is not None and (not is_type(kind) or ";" in kind):
        text = "The attachment type cannot contain ';', or CRLF characters."
        raise refuse(text, f"{field}.type")
    disposition = told.get("disposition", "attachment")
    if disposition not in ("attachment", "inline"):
        text = "The disposition of an attachment is one of attachment, inline."
        raise refuse(text, f"{field}.disposition")
    if disposition == "inline" and not told.get("content_id"):
        text = "The content_id is required when the disposition is inline."
        raise refuse(text, f"{field}.content_id")


def _check_sender(data: Mapping[str, Any], account: Account) -> None:
    sender = data.get("from")
    if not isinstance(sender, Mapping) or not sender.get("email"):
        raise refuse(NEEDS_EMAIL.format(kind="from"), "from.email")
    if not is_valid(str(sender["email"])):
        raise refuse("Does not contain a valid address.", "from.email")
    if account.domain and domain_of(sender["email"]) != account.domain.lower():
        raise refuse(NOT_VERIFIED, "from", status=403)
    for name in ("from", "reply_to"):
        if HEADER_UNSAFE.search(str((data.get(name) or {}).get("name") or "")):
            raise refuse("The name cannot contain CRLF characters.", f"{name}.name")


def _check_content(data: Mapping[str, Any]) -> None:
    if data.get("template_id"):
        raise refuse(
            "The template_id must be a valid GUID, you provided an unknown one.", "template_id"
        )
    content = data.get("content")
    if not isinstance(content, list) or not content:
        raise refuse(
            "Unless a valid template_id is provided, the content parameter is required. There must"
            " be at least one defined content block. We typically suggest both text/plain and"
            " text/html blocks are included, but only one block is required.",
            "content",
        )
    for number, part in enumerate(content):
        if not isinstance(part.get("value"), str) or not part["value"]:
            text = "The content value must be a string at least one character in length."
            raise refuse(text, f"content.{number}.value")
    types = [part.get("type") for part in content]
    if "text/plain" in types[1:]:
        text = "If present, text/plain and text/html may only be provided once, in this order."
        raise refuse(text, "content")
    _check_labels(data)


def _check_labels(data: Mapping[str, Any]) -> None:
    """Refuse unsafe subjects and too many categories."""
    if HEADER_UNSAFE.search(str(data.get("subject") or "")):
        raise refuse("The subject cannot contain CRLF characters.", "subject")
    categories = data.get("categories") or []
    if len(categories) > MAX_CATEGORIES or len(set(categories)) < len(categories):
        text = f"You cannot have more than {MAX_CATEGORIES} categories; each must be unique."
        raise refuse(text, "categories")
    if any(len(str(category)) > 255 for category in categories):
        raise refuse("The category cannot be longer than 255 characters.", "categories")


def _check_personalization(part: Any, field: str) -> None:
    if not isinstance(part, Mapping) or not part.get("to"):
        text = (
            "The to array is required for all personalization objects, and must have at least one"
            " email object with a valid email address."
        )
        raise refuse(text, f"{field}.to")
    for place, email in _people(part, field):
        if not email:
            raise refuse(NEEDS_EMAIL.format(kind="to"), place)
        if not is_valid(email):
            raise refuse("Does not contain a valid address.", place)
    _check_substitutions(part.get("substitutions"), f"{field}.substitutions")
    _check_arguments(part.get("custom_args"), f"{field}.custom_args")
    _check_headers(part.get("headers"), f"{field}.headers")
    if part.get("dynamic_template_data"):
        text = "dynamic_template_data is only allowed with a dynamic template."
        raise refuse(text, f"{field}.dynamic_template_data")


def _people(part: Mapping[str, Any], field: str) -> Iterator[tuple[str, str]]:
    """Yield the place and the address of everybody in a personalization."""
    for kind in ("to", "cc", "bcc"):
        for number, person in enumerate(part.get(kind) or []):
            yield f"{field}.{kind}.{number}.email", str((person or {}).get("email") or "")


def _check_recipients(parts: list[Mapping[str, Any]]) -> None:
    """Refuse more than 1,000 people in all, and anybody named twice."""
    seen: set[str] = set()
    count = 0
    for number, part in enumerate(parts):
        for place, email in _people(part, f"personalizations.{number}"):
            count += 1
            if email.lower() in seen:
                raise refuse(
                    "Each unique email address in the personalizations array should only be"
                    f" included once. You have included [{email}] more than once.",
                    place.rsplit(".", 2)[0],
                )
            seen.add(email.lower())
    if count > MAX_RECIPIENTS:
        text = f"There is a limit of {MAX_RECIPIENTS} total recipients (to + cc + bcc) per request."
        raise refuse(text, "personalizations")


def _check_substitutions(values: Any, field: str) -> None:
    if not values:
        return
    if not all(value is None or isinstance(value, str) for value in values.values()):
        raise refuse("Bad Request")
    if _size(values) > MAX_PERSONALIZATION_BYTES:
        text = f"Substitutions are limited to {MAX_PERSONALIZATION_BYTES} bytes per personalization"
        raise refuse(text, field)


def _check_arguments(values: Any, field: str) -> None:
    if not values:
        return
    if not all(isinstance(value, str) for value in values.values()):
        raise refuse("Bad Request")
    if _size(values) > MAX_PERSONALIZATION_BYTES:
        text = f"The custom_args are limited to {MAX_PERSONALIZATION_BYTES} bytes."
        raise refuse(text, field)


def _check_headers(headers: Any, field: str) -> None:
    for name, value in (headers or {}).items():
        if name.lower() in RESERVED_HEADERS or not re.fullmatch(r"[!-9;-~]+", name):
            text = f"The header {name!r} is reserved or no valid name. Please remove it."
            raise refuse(text, field)
        if not isinstance(value, str) or HEADER_UNSAFE.search(value) or not value.isascii():
            text = "Header values must be strings of ASCII characters without line breaks."
            raise refuse(text, f"{field}.{name}")


def _size(values: Mapping[str, str | None]) -> int:
    """Return the bytes of keys and values together; where it is plainly small, an upper bound."""
    characters = sum(map(len, values)) + sum(len(value or "") for value in values.values())
    if characters * 4 <= MAX_PERSONALIZATION_BYTES:
        return characters * 4
    return sum(len(key.encode()) + len((value or "").encode()) for key, value in values.items())
