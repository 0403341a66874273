"""Attachments: what is shown of them, and their bytes, which the inbox keeps once for all mails."""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(;.*)?")


class Unreadable(ValueError):
    """The content of a file is no base64, or there is none."""


@dataclass(frozen=True, slots=True)
class File:
    """An attachment as it came in."""

    filename: str
    content_type: str
    content: bytes
    content_id: str = ""

    @property
    def sha256(self) -> str:
        """The name under which the inbox keeps the bytes."""
        return hashlib.sha256(self.content).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """Return all but the bytes."""
        return {
            "filename": self.filename,
            "content_type": self.content_type,
            "content_id": self.content_id,
            "size": len(self.content),
            "sha256": self.sha256,
        }


def contents(files: Iterable[File]) -> dict[str, bytes]:
    """Return the bytes by their digest."""
    return {file.sha256: file.content for file in files}


def decode(text: Any) -> bytes:
    """Return the bytes of a file in base64. Raises Unreadable."""
    try:
        content = base64.b64decode(str(text or ""), validate=True)
    except ValueError as error:
        raise Unreadable from error
    if not content:
        raise Unreadable
    return content


def is_type(text: Any) -> bool:
    """Whether it is written like a content type, and on one line."""
    return bool(_TYPE.fullmatch(str(text or "")))
