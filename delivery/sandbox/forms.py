"""Read a posted form, urlencoded or multipart, from the bytes of its body.

Not with aiohttp's own reader: the size of the raw body must be judged too, and a body is read once.
"""

import email
import email.policy
from email.message import EmailMessage
from urllib.parse import parse_qsl

from delivery.sandbox.calls import Incoming

Form = dict[str, list[str]]


def read_form(incoming: Incoming) -> Form:
    """Return the fields by name, as lists of texts; files are read as UTF-8, odd bytes kept."""
    kind = incoming.headers.get("content-type", "")
    form: Form = {}
    for name, value in (
        _multipart(incoming) if kind.startswith("multipart/") else _encoded(incoming)
    ):
        form.setdefault(name, []).append(value)
    return form


def _encoded(incoming: Incoming) -> list[tuple[str, str]]:
    text = incoming.body.decode("utf-8", "surrogateescape")
    return parse_qsl(text, keep_blank_values=True, errors="surrogateescape")


def _multipart(incoming: Incoming) -> list[tuple[str, str]]:
    head = f"Content-Type: {incoming.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + incoming.body, EmailMessage, policy=email.policy.HTTP)
    fields = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            fields.append((name, payload.decode("utf-8", "surrogateescape")))
    return fields
