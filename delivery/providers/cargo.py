"""What rides along with a mail, looked at before any call: copies, files, metadata, and sizes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from delivery.providers.base import Address, Attachment, Batch, Fault, Recipient

METADATA_KEY = "message_id"
"""Under this name our id travels with every mail and comes back in every event."""
MOST_COPIES = 49
"""Postmark and Amazon SES take 50 people in one mail."""
MOST_TAGS = 10
"""SendGrid and Mailgun take ten."""
MOST_METADATA_BYTES = 8_000
"""SendGrid takes 10,000, our id included."""

_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
"""Control characters other than TAB, and halves of characters: never part of a header."""
TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WORD = r"[A-Za-z0-9!#$&^_.+-]{1,100}"
_TYPE = re.compile(rf"{_WORD}/{_WORD}(?: ?; ?[A-Za-z0-9_-]{{1,40}}={_WORD})*")
_CONTENT_ID = re.compile(r"[A-Za-z0-9._%+=@-]{1,200}")


class Unsound(ValueError):
    """Something that must not be sent; `str()` says what and why, without the value."""

    def __init__(self, message: str, fault: Fault = Fault.CONTENT) -> None:
        super().__init__(message)
        self.fault = fault


def check_text(what: str, *texts: str) -> None:
    """Raise Unsound for a text that no header can carry."""
    if _UNSAFE.search("".join(texts)):
        raise Unsound(f"The {what} contains a line break or a control character.")


def check_encodable(*texts: str) -> None:
    """Raise Unsound for a body that is no text."""
    text = "".join(texts)
    try:
        _ = text.isascii() or text.encode()
    except UnicodeEncodeError:
        raise Unsound("The text holds half a character, which cannot be encoded.") from None


def check_tags(tags: Sequence[str]) -> None:
    """Raise Unsound for a tag that some provider would not take."""
    if not all(TOKEN.fullmatch(tag) for tag in tags):
        raise Unsound("A tag may hold letters, digits, _ and - only, 64 at most.")
    if len(tags) > MOST_TAGS:
        raise Unsound(f"A mail has {MOST_TAGS} tags at most.")


def sound_attachments(attachments: Sequence[Attachment]) -> Sequence[Attachment]:
    """Return the files; raise Unsound for one that cannot be named or shown.

    A mail inside a mail becomes a plain file: as a mail it may not be in base64 (RFC 2046 5.2.1).
    """
    for attachment in attachments:
        name, kind = attachment.filename, attachment.content_type
        check_text("name of an attachment", name)
        if not name or len(name) > 200:
            raise Unsound("An attachment needs a name of 1 to 200 characters.")
        if not _TYPE.fullmatch(kind):
            raise Unsound("The type of an attachment is written like application/pdf.")
        if kind.lower().startswith("multipart/"):
            raise Unsound("An attachment is one file; multipart types are of whole mails.")
        if attachment.content_id and not _CONTENT_ID.fullmatch(attachment.content_id):
            raise Unsound("The content id of an attachment is a word like logo or logo@example.")
    ids = [one.content_id.lower() for one in attachments if one.content_id]
    if len(set(ids)) < len(ids):
        raise Unsound("Two attachments have the same content id.")
    return [
        replace(one, content_type="application/octet-stream")
        if one.content_type.lower().startswith("message/")
        else one
        for one in attachments
    ]


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Raise Unsound for names and values that would not come back as they went."""
    for name, value in metadata.items():
        if not TOKEN.fullmatch(name):
            raise Unsound("A name in the metadata is 1 to 64 letters, digits, _ and -.")
        if name.lower() == METADATA_KEY:
            raise Unsound(f"The metadata may not use the name {METADATA_KEY}: it is ours.")
        check_text(f"value of {name} in the metadata", value)
    if sum(len(name) + len(value.encode()) for name, value in metadata.items()) > (
        MOST_METADATA_BYTES
    ):
        raise Unsound(f"The metadata is larger than {MOST_METADATA_BYTES:,} bytes.")


def with_sound_copies(recipient: Recipient, encoded: Callable[[str, str], str]) -> Recipient:
    """Return the recipient with copies that may be sent to, nobody twice; else raise Unsound.

    Who is named twice stays where it is seen best: To, then Cc, then Bcc. Providers refuse a mail
    that names somebody twice, or send it twice. `encoded(address, what)` checks an address.
    """
    seen = {recipient.email.lower()}

    def sound(copies: Sequence[Address], what: str) -> tuple[Address, ...]:
        kept = []
        for copy in copies:
            check_text(f"name of the {what}", copy.name)
            email = encoded(copy.email, what)
            if email.lower() not in seen:
                kept.append(Address(email, copy.name))
            seen.add(email.lower())
        return tuple(kept)

    recipient = replace(
        recipient,
        more_to=sound(recipient.more_to, "To address"),
        cc=sound(recipient.cc, "Cc address"),
        bcc=sound(recipient.bcc, "Bcc address"),
    )
    if len(recipient.copies) > MOST_COPIES:
        raise Unsound(f"A mail goes to {MOST_COPIES + 1} people at most, copies included.")
    return recipient


def encoded_bytes(attachments: Sequence[Attachment]) -> int:
    """Return what files take in a mail: base64 in lines, and their headers."""
    return sum(len(one.content) * 4 // 3 * 78 // 76 + 600 for one in attachments)


def shared_bytes(batch: Batch) -> int:
    """Return about what every mail of a batch has at least."""
    texts = (*batch.html.static, *batch.text.static)
    return sum(len(text.encode()) for text in texts) + encoded_bytes(batch.attachments)


def message_bytes(batch: Batch, recipient: Recipient) -> int:
    """Return about how large one person's mail is."""
    texts = batch.html.fill(recipient.html), batch.text.fill(recipient.text)
    return sum(len(text.encode()) for text in texts) + encoded_bytes(batch.attachments)


def too_large(size: int, most: int, who: str) -> str:
    """Return a sentence for a mail that is too large, sizes in bytes."""
    return (
        f"The message is {_mb(size)} with its attachments; {who} takes {_mb(most)} at most."
        " Send a link instead of a large file."
    )


def _mb(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB".replace(".0 MB", " MB")
