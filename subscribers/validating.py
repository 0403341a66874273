"""Addresses: what we accept, in which one spelling we keep it, and why we refuse the rest.

The spelling is the key of everything (people, suppressions, events of providers): trimmed, NFC,
lower case, the domain as IDNA 2008 A-labels, because that is how providers write it back to us.
"""

from __future__ import annotations

import re
import unicodedata

from email_validator import EmailNotValidError, validate_email

LONGEST = 254
"""Octets of an address (RFC 5321 4.5.3.1.3: a path of 256 less the angle brackets)."""
LONGEST_LOCAL = 64
"""Octets before the @ (RFC 5321 4.5.3.1.1)."""

_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# Labels with -- as third and fourth character are A-labels (or reserved): email-validator's work.
_usual = re.compile(
    rf"(?=[^@]{{1,{LONGEST_LOCAL}}}@){_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+(?=[a-z]){_LABEL}",
    re.ASCII,
).fullmatch
_named = re.compile(r"[^<>]*<([^<>]+)>").fullmatch
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))


class InvalidAddress(ValueError):
    """Not an address we can mail. `str()` is a short reason, the same for all of its kind."""


def clean_address(raw: str) -> str:
    """Return the address in its one spelling.

    “Ana Gil <ana@example.com>” gives the address alone. Quoted local parts, address literals and
    letters outside ASCII before the @ are refused: hardly any provider takes them. Reserved domains
    (.example, .test, .local) pass: demos and company networks live there. About 2 µs for the usual
    ASCII address; others go through email-validator (about 50 µs). Raises InvalidAddress.

    >>> clean_address("  Ana.Gil@Example.COM ")
    'ana.gil@example.com'
    >>> clean_address("ana@bücher.example")
    'ana@xn--bcher-kva.example'
    """
    address = raw.strip().lower()
    if len(address) <= LONGEST and _usual(address):
        return address
    return _clean_unusual(raw)


def _clean_unusual(raw: str) -> str:
    text = unicodedata.normalize("NFC", raw).translate(_INVISIBLE).strip()
    named = _named(text)
    address = (named.group(1).strip() if named else text).lower()
    if len(address) <= LONGEST and _usual(address):
        return address
    reason = _reason(address)
    if reason:
        raise InvalidAddress(reason)
    return _validate(address)


def _validate(address: str) -> str:
    """Return what email-validator makes of an address none of our own reasons speaks against."""
    try:
        valid = validate_email(
            address,
            allow_smtputf8=False,
            check_deliverability=False,
            globally_deliverable=False,
        )
    except EmailNotValidError as error:
        raise InvalidAddress("not a valid address") from error
    if valid.ascii_email is None or "." not in valid.ascii_domain:
        raise InvalidAddress("not a valid address")
    return valid.ascii_email.lower()


def _reason(address: str) -> str:
    """Return why an address is refused, in words; "" if only email-validator can tell."""
    if not address:
        return "no address"
    local, at, domain = address.rpartition("@")
    if not at:
        return "no @"
    if not local or not domain:
        return "nothing before the @" if domain else "nothing after the @"
    return _reason_of_local(local) or _reason_of_domain(domain) or _reason_of_length(address)


def _reason_of_local(local: str) -> str:
    if '"' in local:
        return "quotes in the address"
    if "@" in local:
        return "more than one @"
    if re.search(r"\s", local):
        return "a space in the address"
    if not local.isascii():
        return "letters before the @ that few mail servers accept"
    if len(local) > LONGEST_LOCAL:
        return f"more than {LONGEST_LOCAL} characters before the @"
    return "two dots in a row, or a dot at an end" if not all(local.split(".")) else ""


def _reason_of_domain(domain: str) -> str:
    if domain.startswith("[") or domain.rpartition(".")[2].isdecimal():
        return "a number in place of a domain"
    if re.search(r"\s", domain):
        return "a space in the address"
    labels = re.split("[.\u3002]", domain)
    if len(labels) == 1:
        return "no dot after the @"
    if not all(labels):
        return "two dots in a row, or a dot at an end"
    if any(label.startswith("-") or label.endswith("-") for label in labels):
        return "a hyphen at the end of a part of the domain"
    if any(len(label) > 63 for label in labels):
        return "more than 63 characters in a part of the domain"
    return ""


def _reason_of_length(address: str) -> str:
    return f"longer than {LONGEST} characters" if len(address) > LONGEST else ""
