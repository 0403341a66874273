"""Read a posted form, urlencoded or multipart, from the bytes of its body.

Not with aiohttp's own reader: the size of the raw body must be judged too, and a body is read once.
"""

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage, MIMEPart
from urllib.parse import parse_qsl

from delivery.sandbox.calls import Incoming
from delivery.sandbox.files import File

Form = dict[str, list[str]]


FILES = ("attachment", "inline")
"""The fields that hold files at Mailgun. An inline file's name is its content id."""


def read_posted(incoming: Incoming) -> tuple[Form, list[File]]:
    """Return the fields by name, as lists of texts, and the files; odd bytes are kept."""
    kind = incoming.headers.get("content-type", "")
    form: Form = {}
    files: list[File] = []
    if not kind.startswith("multipart/"):
        for name, value in _encoded(incoming):
            form.setdefault(name, []).append(value)
        return form, files
    for name, part, content in _multipart(incoming):
        if name in FILES:
            files.append(_file(name, part, content))
        else:
            form.setdefault(name, []).append(content.decode("utf-8", "surrogateescape"))
    return form, files


def read_form(incoming: Incoming) -> Form:
    """Return the fields by name, as lists of texts."""
    return read_posted(incoming)[0]


def _encoded(incoming: Incoming) -> list[tuple[str, str]]:
    text = incoming.body.decode("utf-8", "surrogateescape")
    return parse_qsl(text, keep_blank_values=True, errors="surrogateescape")


def _multipart(incoming: Incoming) -> Iterator[tuple[str, MIMEPart, bytes]]:
    """Yield name, part and content of each field."""
    head = f"Content-Type: {incoming.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + incoming.body, EmailMessage, policy=email.policy.HTTP)
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            yield name, part, payload


def _file(field: str, part: MIMEPart, content: bytes) -> File:
    # Browsers and clients write UTF-8 as it is (HTML 5), which the parser takes for lost bytes.
    name = (
        str(part.get_filename() or "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    )
    kind = str(part.get("content-type") or "application/octet-stream")
    return File(name, kind, content, content_id=name if field == "inline" else "")
