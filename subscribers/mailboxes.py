"""Which mailbox provider stands behind a domain: one half of a lane (design 4.3)."""

from __future__ import annotations

from django.db import models


class Mailbox(models.TextChoices):
    GMAIL = "gmail", "Gmail"
    MICROSOFT = "microsoft", "Microsoft"
    YAHOO = "yahoo", "Yahoo and AOL"
    APPLE = "apple", "Apple"
    OTHER = "other", "Others"


_NAMES = {
    Mailbox.GMAIL: "gmail.com googlemail.com gmail.example",
    Mailbox.MICROSOFT: (
        "outlook.com hotmail.com live.com msn.com hotmail.co.uk hotmail.de hotmail.fr hotmail.it"
        " hotmail.es live.co.uk live.de live.fr live.nl outlook.de outlook.fr outlook.es outlook.jp"
        " windowslive.com outlook.example hotmail.example"
    ),
    Mailbox.YAHOO: (
        "yahoo.com yahoo.co.uk yahoo.de yahoo.fr yahoo.it yahoo.es yahoo.co.jp yahoo.com.br"
        " ymail.com rocketmail.com aol.com myyahoo.com yahoo.example aol.example"
    ),
    Mailbox.APPLE: "icloud.com me.com mac.com privaterelay.appleid.com icloud.example",
}
# .example is reserved for documentation (RFC 2606): the demo's people live there.

MAILBOX_OF_DOMAIN: dict[str, str] = {
    domain: mailbox.value for mailbox, domains in _NAMES.items() for domain in domains.split()
}
"""Domain -> mailbox; every other domain is Mailbox.OTHER."""


def mailbox_of(email: str) -> str:
    """Return the mailbox provider of a normalised address.

    >>> mailbox_of("ana@googlemail.com")
    'gmail'
    """
    return MAILBOX_OF_DOMAIN.get(email.rpartition("@")[2], Mailbox.OTHER.value)
