"""The log of a Postfix: which line says what became of which mail (src/global/log_adhoc.c).

    Nov 24 08:00:01 mx postfix/cleanup[9]: 4135B3FC06: message-id=<m1f@mail.example.com>
    Nov 24 08:00:03 mx postfix/smtp[8]: 4135B3FC06: to=<ana@example.net>,
        relay=mail.example.net[192.0.2.7]:25, delay=2.1, delays=0/0/1/1, dsn=5.1.1,
        status=bounced (host … said: 550 5.1.1 …)

Dates without a year and a zone are taken to be within the last year, in the zone that is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache

from django.conf import settings

from delivery.providers.base import EventType


@dataclass(frozen=True, slots=True)
class Named:
    """A queue id begins to stand for one mail: ours, or somebody else's ('')."""

    queue_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Tried:
    """What one try to deliver came to, for one recipient."""

    queue_id: str
    type: EventType
    at: datetime
    recipient: str
    said: str
    status: str


@dataclass(frozen=True, slots=True)
class Expired:
    """Postfix gave up on whoever had not got it."""

    queue_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Removed:
    """Postfix is done with a mail; the queue id may stand for another one."""

    queue_id: str


Line = Named | Tried | Expired | Removed

_HEAD = re.compile(
    rb"(?:<\d+>)?(?P<at>\d{4}-\d\d-\d\dT\S+|(?:\d{4} )?[A-Z][a-z][a-z] +\d{1,2} \d\d:\d\d:\d\d)"
    rb"(?:\.\d+)? (?P<host>\S+) (?P<name>postfix[^\s/\[]*)/(?:[\w.-]+/)*(?P<daemon>\w+)\[\d+\]: "
    rb"(?P<queue_id>[0-9A-Za-z]{6,30}): (?P<rest>.*)"
)
_DELIVERY = re.compile(
    rb"to=<(?P<to>[^>]*)>, (?:orig_to=<(?P<orig_to>[^>]*)>, )?relay=(?P<relay>[^,]*), .*?"
    rb"dsn=(?P<dsn>\d\.\d{1,3}\.\d{1,3}), status=(?P<status>[\w-]+)(?: \((?P<said>.*)\))?"
)
_STATUS = {
    b"sent": EventType.DELIVERED,
    b"deferred": EventType.DEFERRED,
    b"SOFTBOUNCE": EventType.DEFERRED,
    b"bounced": EventType.BOUNCED,
}
"""All others are answers to questions whether an address would be taken."""
_HANDED_ON = re.compile(rb"queued as|^250 2\.6\.0")
_LOCAL_RELAY = re.compile(rb"127\.\d+\.\d+\.\d+|\[::1\]|localhost")
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
        start=1,
    )
}
_AHEAD = timedelta(days=1)
"""How far the clock of a log may be ahead of ours."""


class Reader:
    """Reads the lines of one log."""

    def __init__(self, zone: tzinfo | None, relays: Iterable[str], now: datetime) -> None:
        """Take dates without a zone to be in `zone` (None: this machine's).

        What goes to one of `relays` (host names), or to this machine, is on its way only.
        """
        self._zone, self._now = zone, now
        self._relays = [relay.lower().encode() for relay in relays]
        domain = re.escape(settings.MESSAGE_ID_DOMAIN.encode())
        self._message_id = re.compile(
            rb"message-id=<(m[0-9a-f]{1,15})@" + domain + rb">", re.IGNORECASE
        )

    def read(self, lines: Iterable[bytes]) -> Iterator[Line]:
        """Yield what the lines say of mail; all others are passed over."""
        for line in lines:
            # Looking for words first is ten times faster than the patterns.
            if b"status=" in line or b": message-id=" in line or line.endswith(b": removed"):
                found = _HEAD.match(line)
                said = found and self._line(found)
                if said:
                    yield said

    def _line(self, found: re.Match[bytes]) -> Line | None:
        rest, daemon = found["rest"], found["daemon"]
        # Two Postfix on one machine, or two machines, may use one id at a time.
        queue_id = b"%s/%s:%s" % (found["host"], found["name"], found["queue_id"])
        key = _text(queue_id)[-150:]
        if daemon == b"cleanup":
            if not rest.startswith(b"message-id="):
                return None
            ours = self._message_id.match(rest)
            return Named(key, _text(ours[1]).lower() if ours else "")
        if daemon == b"qmgr":
            if rest == b"removed":
                return Removed(key)
            at = self._at(found) if b"status=expired" in rest or b"-expired" in rest else None
            return Expired(key, at) if at else None
        return self._tried(found, key)

    def _tried(self, found: re.Match[bytes], key: str) -> Tried | None:
        told = _DELIVERY.match(found["rest"])
        kind = told and _STATUS.get(told["status"])
        at = self._at(found) if kind else None
        if not (told and kind and at):
            return None
        if kind is EventType.DELIVERED:
            kind = self._arrival(found["daemon"], told)
        recipient = _text(told["orig_to"] or told["to"])
        return Tried(key, kind, at, recipient, _text(told["said"] or b""), _text(told["dsn"]))

    def _arrival(self, daemon: bytes, told: re.Match[bytes]) -> EventType:
        """Return what `sent` means: in the mailbox, on to the next server, or thrown away."""
        if daemon == b"discard":
            return EventType.DROPPED
        relay = told["relay"].lower()
        is_ours = _LOCAL_RELAY.search(relay) and _HANDED_ON.search(told["said"] or b"")
        is_named = any(relay.startswith(known) for known in self._relays)
        return EventType.SENT if is_ours or is_named else EventType.DELIVERED

    def _at(self, found: re.Match[bytes]) -> datetime | None:
        return moment(found["at"].decode(), self._zone, self._now)


@lru_cache(maxsize=4096)
def moment(given: str, zone: tzinfo | None, now: datetime) -> datetime | None:
    """Return the time of a line; None if there is no such time.

    >>> moment("Dec 31 23:59:59", UTC, datetime(2026, 1, 1, tzinfo=UTC)).year
    2025
    """
    try:
        if given[4:5] == "-":
            at = datetime.fromisoformat(given)
            return (at if at.tzinfo else _placed(at, zone)).astimezone(UTC)
        *years, name, day, hms = given.split()
        clock, month = time.fromisoformat(hms), _MONTHS[name]
        if years:
            return _placed(datetime.combine(date(int(years[0]), month, int(day)), clock), zone)
        return _within_a_year(month, int(day), clock, zone, now)
    except (ValueError, KeyError, OverflowError):
        return None


def _within_a_year(
    month: int, day: int, clock: time, zone: tzinfo | None, now: datetime
) -> datetime | None:
    for year in range(now.year + 1, now.year - 5, -1):  # 29 February: up to four years ago
        try:
            at = _placed(datetime.combine(date(year, month, day), clock), zone)
        except ValueError:
            continue
        if at <= now + _AHEAD:
            return at
    return None


def _placed(at: datetime, zone: tzinfo | None) -> datetime:
    """Return what a clock in `zone` showed, whatever zone it carries; None: this machine's."""
    return at.replace(tzinfo=zone).astimezone(UTC)


def _text(found: bytes) -> str:
    return found.decode("utf-8", "replace").replace("\0", "")
