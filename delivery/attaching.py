"""Files that travel with a mail: decoded, measured, named safely, and looked into."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import puremagic
from django.conf import settings

from delivery.models import Attachment
from emailplatform.errors import InvalidInput

MOST_FILES = 20
_RUNNABLE = """
ade adp apk app appx appxbundle bat cab chm cmd com cpl diagcab diagcfg diagpkg dll dmg ex exe hta
img ins iso isp jar jnlp js jse lib lnk mde msc msi msix msixbundle msp mst nsh pif ps1 psm1 reg scr
sct shb sys vb vbe vbs vhd vxd wsc wsf wsh xll
"""
FORBIDDEN = frozenset(_RUNNABLE.split())
"""Endings that no mailbox provider lets through: Gmail's list (“File types blocked in Gmail”,
support.google.com/mail/answer/6590) and their younger relatives."""
_PROGRAMS = (
    (b"\x7fELF", "a Linux program"),
    (b"\xca\xfe\xba\xbe", "a macOS or Java program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\xce\xfa\xed\xfe", "a macOS program"),
    (b"#!", "a script"),
)
_CONTENT_TYPE = re.compile(
    r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}"
    r"(; ?[a-z0-9_-]{1,20}=[A-Za-z0-9_.-]{1,40}){0,2}"
)
_CONTENT_ID = re.compile(r"[A-Za-z0-9_.@+-]{1,100}")
_UNFIT = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff\"\\/:*?<>|]")
_TELLING = ("image/", "audio/", "video/", "application/pdf")
"""Kinds whose first bytes say for certain what they are."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was given: `content` is base64."""

    filename: str
    content: str
    content_type: str = ""
    content_id: str = ""


def attach(files: Sequence[File]) -> list[Attachment]:
    """Return the files as rows that are not saved yet. Raises InvalidInput, with its place."""
    if len(files) > MOST_FILES:
        raise InvalidInput(f"Attach {MOST_FILES} files at most.", param="attachments")
    rows, total = [], 0
    for number, file in enumerate(files):
        try:
            row = _attach(file)
        except InvalidInput as error:
            raise InvalidInput(str(error), param=f"attachments.{number}.{error.param}") from error
        total += len(row.content)
        rows.append(row)
    if total > settings.MAX_ATTACHMENTS_MB * 1024 * 1024:
        words = f"The files have {total / 1024 / 1024:.1f} MB together; the most is"
        raise InvalidInput(f"{words} {settings.MAX_ATTACHMENTS_MB} MB.", param="attachments")
    return rows


def _attach(file: File) -> Attachment:
    filename = safe_name(file.filename)
    content = _decoded(file.content)
    _check_program(filename, content)
    if file.content_id and not _CONTENT_ID.fullmatch(file.content_id):
        words = "Letters, digits and . _ + - @ only, without angle brackets."
        raise InvalidInput(words, param="content_id")
    return Attachment(
        filename=filename,
        content_type=_content_type(file.content_type, content),
        content_id=file.content_id,
        content=content,
    )


def safe_name(filename: str) -> str:
    """Return a file's name without folders and characters that some system gives a meaning.

    Raises InvalidInput if nothing is left.

    >>> safe_name("../../etc/Rechnung: März.pdf")
    'Rechnung_ März.pdf'
    """
    last = PurePosixPath(filename.replace("\\", "/")).name
    cleaned = _UNFIT.sub("_", last).strip(" .")[-200:]
    if not cleaned:
        raise InvalidInput("Give the file a name.", param="filename")
    return cleaned


def _decoded(content: str) -> bytes:
    try:
        decoded = base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        words = "Give the file's content in base64 (RFC 4648, not the URL-safe kind)."
        raise InvalidInput(words, param="content") from error
    if not decoded:
        raise InvalidInput("The file is empty.", param="content")
    return decoded


def _check_program(filename: str, content: bytes) -> None:
    """Refuse what could be run: mailbox providers refuse the whole mail for it."""
    ending = filename.rpartition(".")[2].lower()
    if ending in FORBIDDEN:
        words = f"Files ending in .{ending} are refused by mailbox providers: link to it instead."
        raise InvalidInput(words, param="filename")
    is_windows = content.startswith(b"MZ") and b"PE\0\0" in content[:4096]
    found = [what for beginning, what in _PROGRAMS if content.startswith(beginning)]
    if is_windows or found:
        what = "a Windows program" if is_windows else found[0]
        raise InvalidInput(f"The file is {what}: link to it instead.", param="content")


def _content_type(declared: str, content: bytes) -> str:
    """Return what the file is: as declared, unless its first bytes say otherwise."""
    found = _found_type(content)
    if not declared:
        return found or "application/octet-stream"
    declared = declared.strip().lower()
    if not _CONTENT_TYPE.fullmatch(declared):
        raise InvalidInput("Write the type like application/pdf.", param="content_type")
    kind = declared.partition(";")[0]
    if kind.startswith(("message/", "multipart/")):
        raise InvalidInput("Mails cannot be attached.", param="content_type")
    claims, shows = kind.startswith(_TELLING), found.startswith(_TELLING)
    if (claims or shows) and found and kind.partition("/")[0] != found.partition("/")[0]:
        words = f"The file is said to be {kind}, but it looks like {found}."
        raise InvalidInput(words, param="content_type")
    return declared


def _found_type(content: bytes) -> str:
    """Return what the first bytes say; '' if they say nothing for certain."""
    try:
        matches = puremagic.magic_string(content[:4096])
    except (puremagic.PureError, ValueError):
        return ""
    best = max(matches, key=lambda match: match.confidence)
    is_certain = best.confidence >= 0.3 and len(best.byte_match) >= 3
    return str(best.mime_type) if is_certain else ""
