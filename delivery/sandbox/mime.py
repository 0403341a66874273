"""Read a MIME message as a mail program would: the sandbox shows what really arrived."""

import email
import email.policy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from functools import lru_cache
from typing import Any

from delivery.sandbox.files import File


@dataclass(frozen=True, slots=True)
class Mime:
    """The readable parts of a MIME message. `headers` leaves out what describes the MIME itself."""

    sender: str
    to: str
    subject: str
    html: str
    text: str
    headers: Mapping[str, str]
    cc: str = ""
    files: Sequence[File] = ()

    @property
    def attachments(self) -> list[dict[str, Any]]:
        """What is shown of the files."""
        return [file.as_json() for file in self.files]

    @property
    def metadata(self) -> dict[str, Any]:
        """What travels in an X-Metadata header, as Anymail writes it for Amazon SES."""
        lower = {name.lower(): value for name, value in self.headers.items()}
        try:
            data = json.loads(lower.get("x-metadata", "{}"))
        except ValueError:
            return {}
        return data if isinstance(data, dict) else {}

    @property
    def message_id(self) -> str:
        """Our id: from X-Metadata, else X-Message-ID, else the local part of the Message-ID."""
        lower = {name.lower(): value for name, value in self.headers.items()}
        known = self.metadata.get("message_id") or lower.get("x-message-id")
        return str(known or lower.get("message-id", "").strip("<> ").partition("@")[0])


_SHOWN_APART = {
    "from",
    "to",
    "cc",
    "subject",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
}


@lru_cache(maxsize=3)
def read_mime(raw: bytes) -> Mime:
    """Return the parts of a message. Defects are tolerated, as mail programs do.

    Kept for the copies and events of the same mail: a large one takes seconds.
    """
    message = email.message_from_bytes(raw, EmailMessage, policy=email.policy.default)
    return Mime(
        sender=str(message.get("from", "")),
        to=str(message.get("to", "")),
        subject=str(message.get("subject", "")),
        html=_body(message, "html"),
        text=_body(message, "plain"),
        headers={
            name: str(value) for name, value in message.items() if name.lower() not in _SHOWN_APART
        },
        cc=str(message.get("cc", "")),
        files=[_file(part) for part in message.walk() if part.get_content_disposition()],
    )


def read_headers(raw: bytes) -> Mime:
    """Return the message with its headers alone read: cheap, for what is only accepted."""
    head, separator, _ = raw.partition(b"\r\n\r\n")
    if not separator:
        head = raw.partition(b"\n\n")[0]
    message = email.message_from_bytes(head + b"\r\n\r\n", policy=email.policy.compat32)
    headers = {name: str(value) for name, value in message.items()}
    lower = {name.lower(): value for name, value in headers.items()}
    return Mime(
        lower.get("from", ""), lower.get("to", ""), lower.get("subject", ""), "", "", headers
    )


def _file(part: EmailMessage) -> File:
    content = part.get_payload(decode=True)
    return File(
        part.get_filename() or "",
        str(part.get("content-type", "application/octet-stream")),
        content if isinstance(content, bytes) else b"",
        str(part.get("content-id", "")).strip("<> "),
    )


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    if part is None:
        return ""
    content = part.get_content()
    return content if isinstance(content, str) else ""
