"""What was wrong with a mail that a provider refused for good: its recipient, or the mail.

Two tables, read from the top. They are built from the providers' published error texts and from
RFC 3463; what none of their rows knows is "other".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from delivery.providers.base import Fault

_WORDS: tuple[tuple[re.Pattern[str], Fault], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), fault)
    for pattern, fault in (
        # SendGrid names the field.
        (r"personalizations\.\d+\.(to|cc|bcc)\b", Fault.ADDRESS),
        (r"personalizations\.\d+\.(headers|substitutions|subject)", Fault.CONTENT),
        (r"\b(content|attachments|headers|subject|categories)(\.\d+)?[.\w]*: ", Fault.CONTENT),
        # Mailgun names the parameter.
        (r"'?\b(to|cc|bcc)'? (parameter|address) is not a valid address", Fault.ADDRESS),
        # Postmark: 300 is for anything wrong with the mail, 406 for an inactive recipient.
        (r"(Invalid|Error parsing) '(To|Cc|Bcc)'", Fault.ADDRESS),
        (r"inactive (recipient|address)|marked as inactive|\(406\)", Fault.ADDRESS),
        (r"\(300\)", Fault.CONTENT),
        # Amazon SES.
        (r"suppression list|INVALID_PARAMETER: .*address", Fault.ADDRESS),
        (r"Missing (final )?'@|Local address|Illegal address|Domain contains", Fault.ADDRESS),
        (r"SES: MESSAGE_REJECTED|virus|header|attachment", Fault.CONTENT),
        # Anybody.
        (r"too (large|big|long)|larger than|entity too large|\bsize\b|spam", Fault.CONTENT),
        (r"not a valid (e-?mail )?address|invalid (e-?mail )?address", Fault.ADDRESS),
    )
)

TOO_LARGE_STATUS = 413


def fault_of_answer(status: int, said: str) -> Fault:
    """Return what an HTTP answer blames. `said` is the provider's text, before it is clipped."""
    if status == TOO_LARGE_STATUS:
        return Fault.CONTENT
    return fault_of_words(said)


def fault_of_words(said: str) -> Fault:
    """Return what a provider's text blames.

    >>> fault_of_words("personalizations.0.cc.0.email: Does not contain a valid address.")
    <Fault.ADDRESS: 'address'>
    """
    return next((fault for words, fault in _WORDS if words.search(said)), Fault.OTHER)


_ENHANCED: Mapping[str, Fault] = MappingProxyType(
    {
        "5.1": Fault.ADDRESS,  # Addressing.
        "5.2": Fault.ADDRESS,  # Mailbox: disabled, full …
        "5.2.3": Fault.CONTENT,  # … or the mail is longer than this mailbox takes.
        "5.3.4": Fault.CONTENT,  # Too big for the system.
        "5.6": Fault.CONTENT,  # Media: what is inside cannot be taken.
        "5.7": Fault.CONTENT,  # Security or policy.
    }
)
_ENHANCED_CODE = re.compile(r"\s*([245]\.\d{1,3})(\.\d{1,3})\b")
"""At the beginning of a reply (RFC 2034): anywhere else it may be part of an IP address."""
_AT_RECIPIENT: Mapping[int, Fault] = MappingProxyType(
    {550: Fault.ADDRESS, 551: Fault.ADDRESS, 553: Fault.ADDRESS, 552: Fault.CONTENT}
)
_AT_CONTENT: Mapping[int, Fault] = MappingProxyType(
    {550: Fault.CONTENT, 552: Fault.CONTENT, 554: Fault.CONTENT}
)


def fault_of_reply(code: int, text: str, *, at_recipient: bool) -> Fault:
    """Return what an SMTP reply blames: by its enhanced code, else by its code and its place.

    >>> fault_of_reply(550, "5.7.1 looks like spam", at_recipient=True)
    <Fault.CONTENT: 'content'>
    """
    found = _ENHANCED_CODE.match(text)
    if found:
        subject, detail = found.groups()
        told = _ENHANCED.get(subject + detail) or _ENHANCED.get(subject)
        if told:
            return told
    return (_AT_RECIPIENT if at_recipient else _AT_CONTENT).get(code, Fault.OTHER)


_CLOSING = 421
_TOO_FAST = re.compile(r"\s*4\.7\.\d{1,3}\b")


def is_throttle(code: int, text: str) -> bool:
    """Whether an SMTP reply asks us to slow down: 421, or 4.7.x.

    >>> is_throttle(451, "4.7.1 greylisted"), is_throttle(452, "4.2.2 mailbox full")
    (True, False)
    """
    return code == _CLOSING or bool(400 <= code < 500 and _TOO_FAST.match(text))
