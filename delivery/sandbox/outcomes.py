"""Decide what becomes of an accepted message, from seed and address alone: a run repeats.

The user agents are such as mail clients send. Machine openers: Apple's Mail Privacy Protection
(user agent "Mozilla/5.0" and nothing else), Gmail's prefetch, and a link scanner. Networks of
people are those reserved for documentation (RFC 5737).
"""

import hashlib
import html
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from delivery.sandbox.calls import Agent
from delivery.sandbox.config import Options

FORCED = {
    "bounce": "bounce",
    "soft": "soft_bounce",
    "block": "block",
    "drop": "drop",
    "defer": "defer",
    "open": "open",
    "click": "click",
    "complaint": "complaint",
    "unsubscribe": "unsubscribe",
}
"""A local part that begins with one of these and a plus gets this outcome and no other."""

_CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome"
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"

PEOPLE = (
    Agent(
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15"
        " (KHTML, like Gecko) Mobile/15E148",
        "203.0.113",
        "Mobile Safari",
        "mobile browser",
        "iOS",
        "mobile",
    ),
    Agent(
        f"{_CHROME}/126.0.0.0 Safari/537.36",
        "198.51.100",
        "Chrome",
        "browser",
        "Windows",
        "desktop",
    ),
    Agent(
        f"{_MAC} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
        "192.0.2",
        "Safari",
        "browser",
        "OS X",
        "desktop",
    ),
    Agent(
        "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
        "198.51.100",
        "Outlook",
        "email client",
        "Windows",
        "desktop",
    ),
    Agent(
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko)"
        " Chrome/126.0.0.0 Mobile Safari/537.36",
        "203.0.113",
        "Chrome Mobile",
        "mobile browser",
        "Android",
        "mobile",
    ),
    Agent(
        "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Thunderbird/115.12.0",
        "192.0.2",
        "Thunderbird",
        "email client",
        "Linux",
        "desktop",
    ),
)

MACHINES = (
    Agent(
        "Mozilla/5.0",
        "104.28.39",
        "unknown",
        "unknown",
        "unknown",
        "unknown",
        is_machine=True,
        is_apple=True,
    ),
    Agent(
        f"{_CHROME}/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0",
        "66.249.84",
        "Edge",
        "browser",
        "Windows",
        "desktop",
        is_machine=True,
    ),
)

SCANNER = Agent(
    "Mozilla/5.0 (compatible; LinkScanner/2.1; security gateway)",
    "192.0.2",
    "robot",
    "robot",
    "unknown",
    "unknown",
    is_machine=True,
)

AGENTS = (*PEOPLE, *MACHINES, SCANNER)
"""Events store their agent's place in this table."""

_LINK = re.compile(
    r"""<a(?:rea)?\b([^>]*?)\bhref\s*=\s*["'](https?://[^"'\s>]+)["']([^>]*)>((?:(?!<a\b).)*?)(?:</a|$|(?=<a\b))""",
    re.IGNORECASE | re.DOTALL,
)
_UNSEEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_BARE = re.compile(r"https?://[^\s<>\"')]+")


@dataclass(frozen=True, slots=True)
class Planned:
    """One event that will happen, `delay` seconds after the message was accepted."""

    type: str
    delay: float
    pick: int = 0
    agent: int = 0


def draws(*key: object) -> list[float]:
    """Return 16 numbers from 0 to below 1 that depend on the key and nothing else."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode()).digest()
    return [number / 2**32 for number in struct.unpack("<16I", digest)]


def forced_outcome(recipient: str) -> str:
    """Return the outcome that the address asks for, or an empty string.

    >>> forced_outcome("Bounce+anna@example.com")
    'bounce'
    """
    prefix, plus, _ = recipient.partition("@")[0].partition("+")
    return FORCED.get(prefix.lower(), "") if plus else ""


def vary_key(options: Options, account: str, message_id: str) -> str:
    """Return what an outcome depends on besides seed and address."""
    if options.vary_by == "message":
        return message_id or account
    return account if options.vary_by == "account" else ""


def plan(options: Options, account: str, recipient: str, message_id: str) -> list[Planned]:
    """Return every event of one message, in no particular order."""
    key = vary_key(options, account, message_id)
    draw = draws(options.seed, recipient.lower(), key)
    fate = forced_outcome(recipient) or _fate(options, draw[0])
    if fate == "silent":
        return []
    events = [Planned("processed", 0.1 * options.event_latency)]
    if fate in ("drop", "bounce", "soft_bounce", "block"):
        delay = options.event_latency * (0.1 if fate == "drop" else 0.5 + draw[1])
        return [*events, Planned(fate, delay, _pick(draw[2]))]
    events.extend(_delivered(options, fate, draw))
    return events


def _fate(options: Options, draw: float) -> str:
    """Return the outcome that the number between 0 and 1 falls on."""
    for name in ("drop", "bounce", "soft_bounce", "block"):
        rate: float = getattr(options, name)
        if draw < rate:
            return name
        draw -= rate
    share = 1 - options.drop - options.bounce - options.soft_bounce - options.block
    return "random" if draw < share * options.delivery else "silent"


def _delivered(options: Options, fate: str, draw: list[float]) -> Iterator[Planned]:
    """Yield what happens to a message that reaches its mailbox."""
    latency = options.event_latency
    delivered = latency * (0.5 + draw[1])

    def happens(name: str, number: float) -> bool:
        return fate == name or (fate == "random" and number < getattr(options, name))

    if happens("defer", draw[3]):
        yield Planned("defer", delivered, _pick(draw[2]))
        delivered += latency
    yield Planned("delivered", delivered)
    if happens("machine_open", draw[4]):
        agent = len(PEOPLE) + int(draw[5] * len(MACHINES))
        yield Planned("open", delivered + 0.1 * latency, _pick(draw[5]), agent)
    if happens("machine_click", draw[6]):
        for offset in range(3):
            yield Planned("click", delivered + 0.05 * latency, offset, len(AGENTS) - 1)
    if happens("complaint", draw[7]):
        yield Planned("complaint", delivered + 2 * latency, _pick(draw[7]))
    yield from _engagement(options, fate, draw, delivered)


def _engagement(
    options: Options, fate: str, draw: list[float], delivered: float
) -> Iterator[Planned]:
    """Yield what a person does. Who clicks or unsubscribes has opened first."""
    is_random = fate == "random"
    leaves = fate == "unsubscribe" or (is_random and draw[8] < options.unsubscribe)
    opens = fate in ("open", "click") or leaves or (is_random and draw[9] < options.open)
    if not opens:
        return
    clicks = fate == "click" or (is_random and draw[10] < options.click)
    agent = int(draw[11] * len(PEOPLE))
    opened = delivered + options.event_latency * (0.5 + 3 * draw[12])
    yield Planned("open", opened, _pick(draw[13]), agent)
    if clicks:
        after = options.event_latency * (0.1 + draw[14])
        yield Planned("click", opened + after, _pick(draw[15]), agent)
    if leaves:
        yield Planned("unsubscribe", opened + options.event_latency, _pick(draw[13]), agent)


def _pick(draw: float) -> int:
    return int(draw * 65536)


def clicked_link(html_body: str, text: str, pick: int, *, is_machine: bool = False) -> str:
    """Return one of the links a message offers, or an empty string when it offers none.

    People see no link that is hidden, and leave those to unsubscribe alone while there is another:
    following them is not a click. A machine takes all of them, beginning with what nobody sees.
    """
    found = [_link(match) for match in _LINK.finditer(html_body)]
    if is_machine:
        offered = [url for url, _, _ in sorted(found, key=lambda each: not each[1])]
    else:
        seen = [(url, leaves) for url, is_unseen, leaves in found if not is_unseen]
        offered = [url for url, leaves in seen if not leaves] or [url for url, _ in seen]
    offered = offered or _BARE.findall(text)
    return str(offered[pick % len(offered)]) if offered else ""


def _link(match: re.Match[str]) -> tuple[str, bool, bool]:
    """Return the address of a link, whether nobody sees it, and whether it is to unsubscribe."""
    before, address, after, words = match.groups()
    url = html.unescape(address)
    leaves = "unsubscribe" in f"{url}{words}".lower()
    return url, bool(_UNSEEN.search(before + after)), leaves
