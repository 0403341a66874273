"""Attachments as Anymail's payloads ask for them: encoded once for all calls of a batch."""

from __future__ import annotations

from base64 import b64encode
from functools import cached_property

from delivery.providers.base import Attachment


class ReadyFile:
    """Stands for `anymail.utils.Attachment`, which would decode and encode the file each time."""

    charset = None

    def __init__(self, attachment: Attachment) -> None:
        self.name = attachment.filename
        self.content_bytes = attachment.content
        self.content_type = attachment.content_type
        self.cid = attachment.content_id
        self.inline = bool(attachment.content_id)
        self.content_id = f"<{self.cid}>" if self.inline else None

    @property
    def mimetype(self) -> str:
        """The type without its parameters."""
        return self.content_type.partition(";")[0].strip()

    @cached_property
    def b64content(self) -> str:
        """The file in base64, in one line."""
        return b64encode(self.content_bytes).decode("ascii")

    @property
    def b64content_utf8(self) -> str:
        """The same: what is attached here are bytes, never text to be encoded."""
        return self.b64content
