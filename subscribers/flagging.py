"""What speaks against an address that is spelt correctly: kinds of flags, and what a list does.

Here is what the spelling alone tells: addresses of roles, throw-away mailboxes, misspelt domains.
What DNS tells is `subscribers.resolving`'s. Nothing here asks anybody; it runs for every row of an
import.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from disposable_email_domains import blocklist
from django.db import models


class Kind(models.TextChoices):
    """What can speak against an address; the worst first."""

    NO_DOMAIN = "no_domain", "The domain does not exist"
    NO_MAIL = "no_mail", "The domain takes no mail"
    TYPO = "typo", "The domain looks misspelt"
    DISPOSABLE = "disposable", "Throw-away mailbox"
    ROLE = "role", "Address of a role, not a person"
    NO_MX = "no_mx", "The domain names no mail server"


class Policy(models.TextChoices):
    """What a list does with a flagged address."""

    ACCEPT = "accept", "Accept"
    HOLD = "hold", "Hold back until somebody looked"
    REFUSE = "refuse", "Refuse"


DEFAULTS = {
    Kind.NO_DOMAIN: Policy.HOLD,
    Kind.NO_MAIL: Policy.HOLD,
    Kind.TYPO: Policy.HOLD,
    Kind.DISPOSABLE: Policy.ACCEPT,
    Kind.ROLE: Policy.ACCEPT,
    Kind.NO_MX: Policy.ACCEPT,
}
"""What a list does that says nothing else: mail that cannot arrive is not sent."""


class Verdict(models.TextChoices):
    """What the flags of an address come to."""

    OK = "ok", "Fine"
    RISKY = "risky", "Risky"
    BAD = "bad", "Bad"
    UNKNOWN = "unknown", "Not known"


BAD = frozenset({Kind.NO_DOMAIN, Kind.NO_MAIL})
"""Mail to these cannot arrive."""
OF_DNS = frozenset({Kind.NO_DOMAIN, Kind.NO_MAIL, Kind.NO_MX})


class Flag(NamedTuple):
    """One thing that speaks against an address."""

    kind: Kind
    reason: str
    """A sentence."""
    suggestion: str = ""
    """The domain that was probably meant."""


IN_IMPORTS = {
    Kind.ROLE: "address of a role, not a person (info@, support@ …)",
    Kind.DISPOSABLE: "throw-away mailbox",
    Kind.TYPO: "domain looks misspelt (gmial.com …)",
}
"""How imports count them: the same words for all of a kind."""

_ROLES_WORDS = (
    "abuse admin administrator billing contact help helpdesk hostmaster info it jobs kontakt mail "
    "marketing news newsletter no-reply noc noreply office postmaster privacy root sales security "
    "service spam support team webmaster"
)
ROLES = frozenset(_ROLES_WORDS.split())
"""Local parts (RFC 2142 and custom) that stand for a function, so nobody in person signed up."""

_DISPOSABLE = blocklist | {"mail-temp.com", "spamgourmet.com", "tempmail.com", "tempmail.net"}
"""Domains of mailboxes that live for minutes: the package's list, and well-known ones it lacks."""


def flags_of(email: str) -> tuple[Flag, ...]:
    """Return what the spelling of a normalised address tells, the worst first.

    >>> [flag.kind.value for flag in flags_of("info@outlok.com")]
    ['typo', 'role']
    """
    local, _, domain = email.partition("@")
    flags = flags_of_domain(domain)
    if local not in ROLES:
        return flags
    return (*flags, Flag(Kind.ROLE, f"{local}@ is read by whoever is on duty, not by one person."))


@lru_cache(maxsize=1 << 16)
def flags_of_domain(domain: str) -> tuple[Flag, ...]:
    """Return what the spelling of a domain tells, the worst first."""
    flags = []
    meant = meant_by(domain)
    if meant:
        flags.append(Flag(Kind.TYPO, f"{domain} looks like a slip for {meant}.", meant))
    if any(name in _DISPOSABLE for name in _with_parents(domain)):
        flags.append(Flag(Kind.DISPOSABLE, f"{domain} gives away mailboxes that soon are gone."))
    return tuple(flags)


def _with_parents(domain: str) -> Iterator[str]:
    """Yield the domain, then what it is part of, down to two labels."""
    labels = domain.split(".")
    for first in range(max(len(labels) - 1, 1)):
        yield ".".join(labels[first:])


# --- Slips of the hand ----------------------------------------------------------------------

_MAILBOXES = {
    "gmail": "com",
    "googlemail": "com",
    "yahoo": (
        "com ca co.in co.jp co.nz co.uk co.id co.th com.ar com.au com.br com.hk com.mx com.my "
        "com.ph com.sg com.tr com.tw com.vn de dk es fr gr ie in it nl no pl pt ro se"
    ),
    "hotmail": (
        "com at be ca ch co.il co.jp co.th co.uk com.ar com.br de dk es fi fr gr it nl no se"
    ),
    "outlook": (
        "com at be cl co.id co.il co.th com.ar com.au com.br com.tr cz de dk es fr gr hu ie in it "
        "jp kr lv my ph pt sa sg sk"
    ),
    "icloud": "com",
    "protonmail": "com ch",
    "rocketmail": "com",
    "comcast": "net",
    "verizon": "net",
    "bellsouth": "net",
    "sbcglobal": "net",
    "btinternet": "com",
    "t-online": "de",
    "freenet": "de",
    "wanadoo": "fr",
    "laposte": "net",
    "libero": "it",
    "virgilio": "it",
    "tiscali": "it co.uk",
}
_SUFFIXES = {name: frozenset(words.split()) for name, words in _MAILBOXES.items()}
"""Mailbox provider -> the endings it has: what most addresses of people end in."""
_SLIPS = {
    "com": "con cmo ocm comm coom cpm vom xom cim c0m ccom comn",
    "net": "nett ner ent",
    "org": "ogr orgg",
}
_NO_ENDINGS = {slip: meant for meant, words in _SLIPS.items() for slip in words.split()}
"""Endings that do not exist -> what was meant."""
_OTHERS_ENDINGS = {"co": "com", "cm": "com", "om": "com", "ne": "net", "et": "net"}
"""Endings of countries that no mailbox provider above has: a letter is missing."""
_LOOKALIKES = frozenset({"ymail"})
"""Real names one letter away from those above."""


def meant_by(domain: str) -> str:
    """Return the domain somebody probably meant; "" where nothing looks like a slip.

    Careful: one letter too many, too few, another or swapped, in the name of a big provider and
    with an ending it has; or an ending that does not exist at all.

    >>> meant_by("gmial.com"), meant_by("firma.con"), meant_by("mail.com"), meant_by("yahoo.com.br")
    ('gmail.com', 'firma.com', '', '')
    """
    name, _, suffix = domain.partition(".")
    fixed = _ending_meant(name, suffix)
    provider = _provider_meant(name, fixed)
    if provider:
        return f"{provider}.{fixed}"
    return f"{name}.{fixed}" if fixed != suffix else ""


def _ending_meant(name: str, suffix: str) -> str:
    """Return the ending with its slip mended, as it is if it has none."""
    before, dot, last = suffix.rpartition(".")
    if last in _NO_ENDINGS:
        return f"{before}{dot}{_NO_ENDINGS[last]}"
    known = _SUFFIXES.get(name) or _SUFFIXES.get(_provider_like(name))
    meant = _OTHERS_ENDINGS.get(suffix, "")
    return meant if known and suffix not in known and meant in known else suffix


def _provider_meant(name: str, suffix: str) -> str:
    if name in _SUFFIXES:
        return ""
    provider = _provider_like(name)
    return provider if suffix in _SUFFIXES.get(provider, ()) else ""


@lru_cache(maxsize=1 << 16)
def _provider_like(name: str) -> str:
    """Return the provider whose name is one slip away; "" if there is none."""
    if name in _LOOKALIKES or name in _SUFFIXES or len(name) < 4:
        return ""
    return next((each for each in _SUFFIXES if _is_one_slip(name, each)), "")


def _is_one_slip(typed: str, meant: str) -> bool:
    """Is one letter missing, too many, another, or swapped with its neighbour (Damerau)?

    The first letter is one that people get right, unless it is swapped: hmail.com and email.com are
    companies.
    """
    if abs(len(typed) - len(meant)) > 1 or typed == meant:
        return False
    start = next((i for i, (a, b) in enumerate(zip(typed, meant, strict=False)) if a != b), None)
    if start is None:  # one is the beginning of the other
        return True
    rest, other = typed[start:], meant[start:]
    if rest[:2] == other[1::-1] and rest[2:] == other[2:]:
        return True
    if start == 0:
        return False
    return rest[1:] == other[1:] or rest[1:] == other or rest == other[1:]
