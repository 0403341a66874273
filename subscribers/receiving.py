"""An uploaded file on its way in: checked, bounded, and rewritten where CSV reading needs it."""

from __future__ import annotations

import codecs
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from django.conf import settings

from emailplatform.errors import InvalidInput
from subscribers import unpacking

_BLOCK = 1 << 18
_NOT_CSV = {
    b"\xd0\xcf\x11\xe0": (
        "This is an Excel workbook that is old, or protected by a password: save it as .xlsx"
        " without one, or the sheet as CSV."
    ),
    b"\x1f\x8b": "This file is compressed; unpack it and upload the CSV inside.",
    b"%PDF": "This is a PDF; export the people as CSV and upload that.",
    b"{": "This looks like JSON; export the people as CSV and upload that.",
}


class Received(NamedTuple):
    """A file to keep: UTF-8 (as far as it was), LF or CRLF; `encoding` is what it came in."""

    file: BinaryIO
    encoding: str
    size: int
    workbook: BinaryIO | None = None
    """The Excel workbook that it was a sheet of, and of which sheets one may choose."""
    sheet: str = ""
    sheets: Sequence[str] = ()


@contextmanager
def received(content: BinaryIO, sheet: str = "") -> Iterator[Received]:
    """Give the upload as a temporary file, ready to be read and stored; it is gone afterwards.

    `content` is read once, in blocks, never more than MAX_UPLOAD_BYTES of it. UTF-16 becomes UTF-8,
    the CR of old Macs becomes LF, and of an Excel workbook a sheet becomes CSV: `sheet`, or the
    first with something in it. Raises InvalidInput in one sentence.
    """
    here = settings.FILE_UPLOAD_TEMP_DIR
    with tempfile.TemporaryFile(dir=here) as raw, tempfile.TemporaryFile(dir=here) as rewritten:
        _copy(content, raw)
        raw.seek(0)
        sample = raw.read(_BLOCK)
        _refuse_other_formats(sample)
        raw.seek(0)
        if sample.startswith(unpacking.ZIP):
            found = unpacking.unpack(raw, rewritten, sheet)
            size = rewritten.seek(0, 2)
            rewritten.seek(0)
            raw.seek(0)
            yield Received(rewritten, "xlsx", size, raw, found.sheet, found.sheets)
            return
        utf16 = _utf16(sample)
        file: BinaryIO = raw
        if utf16:
            _transcode(raw, rewritten, utf16)
            file = rewritten
        elif b"\r" in sample and b"\n" not in sample:
            _end_lines_in_lf(raw, rewritten)
            file = rewritten
        encoding = "utf-16" if utf16 else _encoding(raw)
        size = file.seek(0, 2)
        file.seek(0)
        yield Received(file, encoding, size)


def _copy(content: BinaryIO, into: BinaryIO) -> None:
    left = settings.MAX_UPLOAD_BYTES
    while block := content.read(_BLOCK):
        left -= len(block)
        if left < 0:
            limit = settings.MAX_UPLOAD_BYTES >> 20
            raise InvalidInput(
                f"The file is larger than {limit} MB: split it, or raise MAX_UPLOAD_MB."
            )
        into.write(block)


def _refuse_other_formats(sample: bytes) -> None:
    if not sample.strip(b"\xef\xbb\xbf \t\r\n"):
        raise InvalidInput("The file is empty.")
    for magic, sentence in _NOT_CSV.items():
        if sample.startswith(magic):
            raise InvalidInput(sentence)


def _utf16(sample: bytes) -> str:
    """Return the codec of a UTF-16 file; without a byte order mark, by where its NULs stand."""
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = sample[0::2], sample[1::2]
    for codec, zeros, letters in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros.count(0) > len(zeros) // 2 and not letters.count(0):
            return codec
    return ""


def _transcode(raw: BinaryIO, into: BinaryIO, codec: str) -> None:
    blocks = iter(lambda: raw.read(_BLOCK), b"")
    try:
        into.writelines(text.encode() for text in codecs.iterdecode(blocks, codec))
    except UnicodeError as error:
        raise InvalidInput(
            "The file begins as UTF-16 but is damaged further on; save it as CSV UTF-8."
        ) from error


def _end_lines_in_lf(raw: BinaryIO, into: BinaryIO) -> None:
    while block := raw.read(_BLOCK):
        into.write(block.replace(b"\r", b"\n"))


def _encoding(raw: BinaryIO) -> str:
    """Return how the whole file is written: utf-8-sig, utf-8, or (any byte says no) cp1252."""
    raw.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    marked = raw.read(3) == codecs.BOM_UTF8
    raw.seek(0)
    try:
        while block := raw.read(_BLOCK):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig" if marked else "utf-8"
