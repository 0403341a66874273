"""What Amazon SES refuses, and how its parts are read (see `ses`)."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from delivery.sandbox.addresses import domain_of, is_valid, parse
from delivery.sandbox.calls import Answer, Refused
from delivery.sandbox.config import Account

MAX_TEMPLATE_DATA = 262_144
MAX_HEADERS = 15
_HEADER_NAME = re.compile(r"[!-9;-@A-~]{1,126}")
_HEADER_VALUE = re.compile(r"[ -~]{1,995}")
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")


class EntryRefused(Exception):
    """One entry of a bulk call fails; the others go on."""


def refuse(name: str, text: str, status: int = 400) -> Refused:
    """Return SES's refusal, to be raised: the error's name travels in a header."""
    return Refused(Answer.json(status, {"message": text}, {"x-amzn-ErrorType": name}))


def read_template(template: Any) -> dict[str, Any]:
    """Return {"content": {Subject, Text, Html}, "values": {}} of an inline template."""
    if not isinstance(template, Mapping):
        raise refuse("BadRequestException", "A template is required.")
    content = template.get("TemplateContent")
    if not isinstance(content, Mapping):
        name = template.get("TemplateName") or template.get("TemplateArn")
        raise refuse("NotFoundException", f"Template {name} does not exist.", 404)
    if not content.get("Subject") or not (content.get("Text") or content.get("Html")):
        raise refuse("BadRequestException", "The template needs a subject and a body.")
    return {"content": dict(content), "values": read_values(template.get("TemplateData"))}


def read_values(text: Any) -> dict[str, Any]:
    """Return the values of a template, a JSON object in a string."""
    if text and len(text) > MAX_TEMPLATE_DATA:
        raise refuse(
            "BadRequestException",
            "1 validation error detected: Value at 'templateData' failed to satisfy constraint:"
            f" Member must have length less than or equal to {MAX_TEMPLATE_DATA}",
        )
    try:
        values = json.loads(text or "{}")
    except ValueError as error:
        raise refuse("BadRequestException", "The template data is no valid JSON.") from error
    if not isinstance(values, dict):
        raise refuse("BadRequestException", "The template data is no JSON object.")
    return values


def named_headers(items: Any) -> dict[str, str]:
    """Return the headers by name. Too many or unsafe ones refuse the whole call."""
    items = items or []
    fits = all(
        _HEADER_NAME.fullmatch(str(item.get("Name") or ""))
        and _HEADER_VALUE.fullmatch(str(item.get("Value") or ""))
        for item in items
    )
    if len(items) > MAX_HEADERS or not fits:
        raise refuse(
            "BadRequestException",
            "1 validation error detected: Value at 'headers' failed to satisfy constraint: at most"
            f" {MAX_HEADERS} headers, names of 126 and values of 995 printable ASCII characters",
        )
    return {item["Name"]: item["Value"] for item in items}


def with_reply_to(headers: Mapping[str, str], data: Mapping[str, Any]) -> dict[str, str]:
    reply_to = ", ".join(data.get("ReplyToAddresses") or [])
    return {**({"Reply-To": reply_to} if reply_to else {}), **headers}


def check_tags(tags: Sequence[Mapping[str, Any]]) -> None:
    for tag in tags:
        for kind in ("Name", "Value"):
            text = str(tag.get(kind) or "")
            if not _TAG.fullmatch(text):
                allowed = "only alphanumeric ASCII characters, '_', and '-' are allowed."
                raise refuse(
                    "BadRequestException", f"Invalid tag {kind.lower()} <{text}>, {allowed}"
                )


def read_tags(tags: Any) -> dict[str, str]:
    return {tag["Name"]: tag["Value"] for tag in tags or []}


def checked_sender(data: Mapping[str, Any], account: Account) -> str:
    """Return the sender. Refuses what is not of the account's domain."""
    text = str(data.get("FromEmailAddress") or "")
    email = parse(text)[1]
    if not is_valid(email):
        raise refuse("BadRequestException", "Missing final '@domain'")
    if account.domain and domain_of(email) != account.domain.lower():
        region = account.credentials.get("region", "us-east-1").upper()
        raise refuse(
            "MessageRejected",
            "Email address is not verified. The following identities failed the check in region"
            f" {region}: {email}",
        )
    return text


def read_destination(destination: Mapping[str, Any]) -> list[str]:
    kinds = ("ToAddresses", "CcAddresses", "BccAddresses")
    return [parse(text)[1] for kind in kinds for text in destination.get(kind) or []]


def check_people(people: Sequence[str]) -> None:
    if not people:
        raise EntryRefused("Must have at least one recipient.")
    for email in people:
        if "@" not in email:
            raise EntryRefused("Missing final '@domain'")
        if not is_valid(email):
            raise EntryRefused("Local address contains control or whitespace, or is not ASCII")
