"""Bounce classes: hard (the address is dead), soft (for now), block (about us), or unknown.

Evidence in this order: what the receiving server wrote, the enhanced code it gave (RFC 3463, IANA
"SMTP Enhanced Status Codes"), the code the provider put on the outside, the plain SMTP code. "5xx
is a hard bounce" is wrong two times in three, so a 5xx alone says little.

What the provider itself calls it caps the answer (`weigh`): a hard bounce suppresses a person for
good, so it takes a provider that says hard and a server that does not say otherwise.
"""

import re
from dataclasses import dataclass

from delivery.providers.base import BounceClass

HARD, SOFT, BLOCK, UNKNOWN = (
    BounceClass.HARD,
    BounceClass.SOFT,
    BounceClass.BLOCK,
    BounceClass.UNKNOWN,
)

READ_AT_MOST = 1000
"""Characters of a server's answer that are read; the patterns below run on outside input."""


def weigh(word: BounceClass, said: str, status: str = "") -> BounceClass:
    """Return the class of a bounce the provider calls `word` and the server explained with `said`.

    A provider's hard stays hard unless the server speaks of a full mailbox or of us; its soft and
    its block never become hard; where the provider has no word, the server's counts.
    """
    heard = classify(said, status)
    if word is UNKNOWN:
        return heard
    if word is SOFT:
        return BLOCK if heard is BLOCK else SOFT
    return heard if heard in (SOFT, BLOCK) else word


def classify(said: str, status: str = "") -> BounceClass:
    """Return the class by the server's answer `said` and an outer code ("5.1.1", "550", or "").

    >>> str(classify("552 4.2.2 User has full mailbox", "5.0.0"))
    'soft'
    """
    said = said[:READ_AT_MOST].lower()
    if _FOR_NOW.is_in(said):
        return SOFT
    by_code = _by_codes(said, status)
    if _ABOUT_US.is_in(said):
        return HARD if by_code is HARD and _NOT_THERE.is_in(said) else BLOCK
    return HARD if _NOT_THERE.is_in(said) else by_code


# --- What servers write ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Topic:
    """What an answer, in lower case, is about: by any of some words, or by a longer pattern.

    `hints` are the words without which `pattern` cannot match: looking for words is ten times
    faster than searching with alternatives.
    """

    words: tuple[str, ...]
    hints: tuple[str, ...]
    pattern: re.Pattern[str]

    def is_in(self, said: str) -> bool:
        if any(word in said for word in self.words):
            return True
        return any(hint in said for hint in self.hints) and bool(self.pattern.search(said))


_FOR_NOW = Topic(
    words=(
        *("full mailbox", "over quota", "overquota", "insufficient storage", "size limit"),
        *("greylist", "graylist", "grey-list", "gray-list", "out of office", "out of the office"),
    ),
    hints=(
        *("full", "quota", "space", "storage", "large", "big", "size"),
        *("inactive", "disabled", "suspended"),
    ),
    pattern=re.compile(
        r"mailbox\b.{0,20}\bfull\b|quota.{0,20}\bexceeded|exceed.{0,20}\bquota"
        r"|out of (?:disk )?(?:space|storage)|insufficient (?:system |disk )?(?:storage|space)"
        r"|(?:mail|message).{0,20}\btoo (?:large|big)\b|exceeds.{0,30}\bsize"
        r"|(?:mailbox|account|user|recipient).{0,20}\b(?:inactive|disabled|suspended)\b"
    ),
)
"""A mailbox that may empty itself, a message that was too large, an account asleep."""

_ABOUT_US = Topic(
    words=(
        *("spam", "unsolicited", "junk mail", "junkmail", "virus", "malware", "abuse", "abusive"),
        *("complaint", "blacklist", "black list", "black-list", "blocklist", "block list"),
        *("block-list", "blocking list", "blocked", "banned", "dnsbl", "barracuda", "reputation"),
        *("policy", "policies", "dmarc", "unauthenticated", "administrative prohibition"),
        *("rate limit", "rate-limit", "ratelimit", "unusual rate", "too many messages"),
        *("too many connections", "too many recipients"),
    ),
    hints=("rbl", "spf", "dkim", "content", "relay", "sender"),
    pattern=re.compile(
        r"\b(?:rbl|spf|dkim)\b|content.{0,20}\breject|reject.{0,20}\bcontent"
        r"|relay(?:ing)?.{0,20}\bdenied|sender.{0,30}\b(?:rejected|denied|not allowed)"
    ),
)
"""Our address, our content, our rate."""

_NOT_THERE = Topic(
    words=("recipnotfound", "nxdomain"),
    hints=(
        *(
            "unknown",
            "no such",
            "not found",
            "no longer",
            "exist",
            "invalid",
            "bad ",
            "not a valid",
        ),
        "rejected",
    ),
    pattern=re.compile(
        r"\bunknown (?:user|recipient|mailbox|address|account)\b"
        r"|\bno such (?:user|recipient|mailbox|address|person)\b"
        r"|(?:user|recipient|mailbox|address|account)\b.{0,60}?\b"
        r"(?:unknown|not found|no longer exists?|(?:not|does ?n'?t|do ?n'?t) exist|invalid)\b"
        r"|(?:invalid|bad|non-?existent) (?:recipient|mailbox|user|address)\b"
        r"|recipient address rejected: (?:access denied|undeliverable)"
        r"|\bnot a valid (?:user|mailbox|recipient)"
        r"|(?:domain|host)\b.{0,30}\b(?:not found|does not exist)"
    ),
)
"""The address or its domain is not there."""


# --- Codes -------------------------------------------------------------------------------

_ENHANCED = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?!\.?\d)")
_AFTER_REPLY = re.compile(r"\b[245]\d\d[ -]\(?#?([245])\.(\d{1,3})\.(\d{1,3})(?!\.?\d)")
_REPLY = re.compile(r"(?<![\d.])([45]\d\d)(?![\d.]\d|\d)")

_HARD_CODES = frozenset(
    # No such mailbox, domain, syntax or moved away; null MX; owner changed; host not found.
    {"1.1", "1.2", "1.3", "1.6", "1.10", "7.17", "7.18", "4.4"}
)
_SENDER_CODES = frozenset({"1.7", "1.8"})
"""x.1.7 and x.1.8: the *sender's* address is bad, so it is about us."""
_ASLEEP_CODES = frozenset({"7.13"})
"""5.7.13, user account disabled: the one security code that is about the recipient, for now."""
_SAYS_NOTHING = frozenset({"0.0", "1.0", "1.4", "1.5", "3.0", "4.0", "5.0"})
_HARD_REPLIES = frozenset({"550", "551", "553"})


def _by_codes(said: str, status: str) -> BounceClass:
    remote = _AFTER_REPLY.search(said) or _ENHANCED.search(said)
    outer = _ENHANCED.fullmatch(status.strip())
    for found in (remote, outer):
        by_code = _by_enhanced(*found.groups()) if found else UNKNOWN
        if by_code is not UNKNOWN:
            return by_code
    reply = _REPLY.search(said) or _REPLY.fullmatch(status.strip())
    return _by_reply(reply[1]) if reply else UNKNOWN


def _by_enhanced(kind: str, subject: str, detail: str) -> BounceClass:
    code = f"{int(subject)}.{int(detail)}"
    if kind == "2" or code in _SAYS_NOTHING:
        return SOFT if kind == "4" else UNKNOWN
    if code in _ASLEEP_CODES:
        return SOFT
    if code in _HARD_CODES:
        return HARD if kind == "5" else SOFT
    if code in _SENDER_CODES or int(subject) in (6, 7):
        return BLOCK
    return SOFT if kind == "4" or int(subject) in (2, 3, 4) else UNKNOWN


def _by_reply(reply: str) -> BounceClass:
    if reply.startswith("4") or reply == "552":
        return SOFT
    return HARD if reply in _HARD_REPLIES else UNKNOWN
