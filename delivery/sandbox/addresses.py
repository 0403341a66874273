"""Read and judge e-mail addresses as strictly as the providers do.

The two patterns are those Postmark publishes ("What does Error Code 300 mean?"); the lengths are
RFC 5321's. The other providers' are not public and close enough.
"""

import re
from email.utils import getaddresses

_MAILBOX = re.compile(r"[a-z0-9.!#$%&'`*+\-/=^_{}|~]{1,64}", re.IGNORECASE)
_DOMAIN = re.compile(
    r"(?=.{1,255}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9-]+)+", re.IGNORECASE
)
_SIMPLE = re.compile(r'\s*"?([^"<>,@\\]*?)"?\s*<([^<>\s",]+@[^<>\s",]+)>\s*')
HEADER_UNSAFE = re.compile(r"[\r\n\0]")


def is_valid(email: str) -> bool:
    """Whether a provider would take the address.

    >>> is_valid("anna@example.com"), is_valid("anna@example"), is_valid("an na@example.com")
    (True, False, False)
    """
    mailbox, at, domain = email.rpartition("@")
    if not at or ".." in mailbox or mailbox.startswith(".") or mailbox.endswith("."):
        return False
    return bool(_MAILBOX.fullmatch(mailbox) and _DOMAIN.fullmatch(domain))


def parse(text: str) -> tuple[str, str]:
    """Return (name, address) of one mailbox; the address is what was written, right or wrong.

    >>> parse('"Meyer, Anna" <anna@example.com>')
    ('Meyer, Anna', 'anna@example.com')
    """
    simple = _SIMPLE.fullmatch(text)
    if simple:
        return simple.group(1), simple.group(2)
    found = parse_all(text)
    return found[0] if found else ("", text.strip())


def parse_all(text: str) -> list[tuple[str, str]]:
    """Return (name, address) of each mailbox of a comma-separated list."""
    if not any(mark in text for mark in '<",('):
        return [("", text.strip())] if text.strip() else []
    return [(name, email) for name, email in getaddresses([text]) if name or email]


def domain_of(email: str) -> str:
    """Return the domain in lower case.

    >>> domain_of("Anna@Example.COM")
    'example.com'
    """
    return email.rpartition("@")[2].lower()
