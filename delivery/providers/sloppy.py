"""Letters that servers write to people: qmail, Exim, Exchange, and whatever else says no in prose.

Which addresses they name is left to flufl.bounce, which has read them for Mailman since 2004. Why,
it does not say, and what it calls permanent often is not: that is judged by the words near the
address, as everywhere (`bouncing`).
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from email.message import Message

from flufl.bounce import all_failures

from delivery.providers import letters
from delivery.providers.letters import addresses_of, field, parts, text_of

logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)
"""It logs each detector, and what fails in one is caught here."""

MOST_SAID = 600
"""Characters after an address that explain it."""
MOST_RECIPIENTS = 50

_DAEMON = re.compile(
    r"mailer-?daemon|postmaster|mail delivery (?:sub)?system|maildelivery", re.IGNORECASE
)
_BOUNCED = re.compile(
    r"undeliver|unzustellbar|non remis|delivery (?:status|failure|failed|has failed|problem)"
    r"|(?:mail|message).{0,20}(?:returned|not delivered|delivery failed)|returned mail"
    r"|failure notice|delivery notification|could not be delivered",
    re.IGNORECASE,
)
_LATER = re.compile(
    r"delayed|will be retried|will continue to (?:try|retry)|still trying|warning"
    r"|not yet been delivered|no action is required",
    re.IGNORECASE,
)
_ANSWER = re.compile(
    r"^\W*(?:(?:re|aw|fwd?)\s*:\s*)*(?:out of (?:the )?office|automatic reply|auto(?:matic)?[- ]?"
    r"(?:reply|response|answer|respond)|autoreply|auto:|abwesen|automatische antwort|vacation"
    r"|r[ée]ponse automatique|respuesta autom|resposta autom|risposta automatica|on holiday"
    r"|away from (?:the|my) office|i am away|absence)",
    re.IGNORECASE,
)
_BELOW = re.compile(r"\n[-\s]*(?:-{3,}|_{5,}|Received: |Return-Path: |Message headers follow)")


@dataclass(frozen=True, slots=True)
class Failure:
    """One address that did not get its mail."""

    recipient: str
    """'' if the letter names nobody."""
    is_temporary: bool
    said: str


def is_automatic_answer(mail: Message) -> bool:
    """Say whether a person's mailbox wrote this: on holiday, moved, will read it later."""
    if _is_from_daemon(mail) and not _ANSWER.search(field(mail, "subject")):
        return False
    kinds = field(mail, "auto-submitted").lower().startswith("auto-replied")
    told = any(mail.get(name) for name in ("x-autoreply", "x-autorespond", "x-autoresponder"))
    precedence = field(mail, "precedence").lower() in ("auto_reply", "auto-reply")
    return kinds or told or precedence or bool(_ANSWER.search(field(mail, "subject")))


def failures(mail: Message) -> list[Failure]:
    """Return whom a letter says it failed, and why; none if it is no bounce."""
    said = _all_text(mail)
    is_bounce = _is_from_daemon(mail) or bool(_BOUNCED.search(field(mail, "subject")))
    temporary, permanent = _detected(mail)
    named = [(address, True) for address in temporary]
    named += [(address, False) for address in permanent if address not in temporary]
    if not named and is_bounce:
        failed = addresses_of(mail, "x-failed-recipients")[:MOST_RECIPIENTS] or [""]
        is_later = bool(_LATER.search(field(mail, "subject")))
        named = [(address, is_later) for address in failed]
    return [Failure(address, later, _near(said, address)) for address, later in named]


def said_of(mail: Message, address: str) -> str:
    """Return what a letter says of an address, on one line; '' if it is not named."""
    return _near(_all_text(mail), address)


def _is_from_daemon(mail: Message) -> bool:
    return bool(_DAEMON.search(field(mail, "from"))) or field(mail, "return-path") == "<>"


def _detected(mail: Message) -> tuple[list[str], list[str]]:
    """Return the addresses that failed for now and for good, as flufl.bounce finds them."""
    _simplify(mail)
    try:
        temporary, permanent = all_failures(mail)
    except Exception:  # noqa: BLE001 (a detector that trips over a mail knows nothing of it)
        return [], []
    return _readable(temporary), _readable(permanent)


def _readable(found: frozenset[bytes]) -> list[str]:
    addresses = [letters.address_in(each.decode("ascii", "replace")) for each in found]
    return sorted({each for each in addresses if each})[:MOST_RECIPIENTS]


def _simplify(mail: Message) -> None:
    """Decode the texts of a mail and cut their lines, so that no pattern runs for long."""
    for part in parts(mail):
        if part.get_content_maintype() != "text" or part.is_multipart():
            continue
        lines = text_of(part).splitlines()
        del part["content-transfer-encoding"]
        text = "\n".join(line[: letters.LONGEST_LINE // 2] for line in lines)
        part.set_payload(text.encode("ascii", "replace").decode())


def _all_text(mail: Message) -> str:
    """Return the text that was written to people: what stands before the mail that came back."""
    for part in parts(mail):
        if part.get_content_type() == "text/plain":
            return _upper(text_of(part))
    for part in parts(mail):
        if part.get_content_type() == "text/html":
            return _upper(re.sub(r"<[^<>]{0,1000}>", " ", text_of(part)))
    return ""


def _upper(text: str) -> str:
    below = _BELOW.search(text.replace("\r\n", "\n"), 200)
    return text.replace("\r\n", "\n")[: below.start() if below else letters.MOST_TEXT]


def _near(text: str, address: str) -> str:
    """Return the words after an address, else the beginning."""
    at = text.lower().find(address.lower()) if address else -1
    start = at + len(address) if at >= 0 else 0
    return letters.clean(text[start : start + MOST_SAID]).strip(" >:")
