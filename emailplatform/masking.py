"""Log lines without people's addresses, wherever they come from: paths, errors, tracebacks."""

from __future__ import annotations

import logging
import re

_ADDRESS = re.compile(r"(?<!\w)(\w)[\w.!#$&'*+=?^`{|}~%-]{0,320}?(?:@|%40)(\w)[\w.-]*")


def masked(text: str) -> str:
    """Return a text in which two letters are left of each address.

    >>> masked("GET /people/ana@example.com/ for bo%40example.org")
    'GET /people/a***@e***/ for b***@e***'
    """
    if "@" not in text and "%40" not in text:
        return text
    return _ADDRESS.sub(r"\1***@\2***", text)


class Masking(logging.Formatter):
    """The usual line, and below it a traceback; no address in either."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))
