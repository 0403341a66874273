"""A click or an open of our own tracking, as it happens: where it leads, and that it happened.

The reader must not wait, nor suffer with us: addresses are remembered, what happened is noted in
one INSERT, and while the database is away it is kept here and noted later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from django.db import InterfaceError, OperationalError

from campaigns.linking import TRAP, target_in
from campaigns.models import Link
from delivery import tracking
from delivery.providers.base import EventType
from emailplatform import secrets
from emailplatform.limiting import Ceiling
from webhooks import classifying, looking
from webhooks.marks import ASKED_BY_HEAD, HIDDEN_LINK
from webhooks.models import Sighting
from webhooks.querysets import NewSighting

logger = logging.getLogger(__name__)

REMEMBERED = 20_000
"""Links of campaigns whose addresses a process knows."""
MOST_KEPT = 10_000
"""Sightings that a process keeps while the database is away."""
AGAIN_AFTER_S = 2.0
"""So long nobody waits for a database that was away."""
ONE_MAIL = 60
"""Per minute: more from one mail are not noted. No reader is as quick."""
ANYBODY = 6_000
"""Per minute and address, where mails are not told apart."""


class Mail(NamedTuple):
    """Whose links they are: one message's, or anybody's of a campaign."""

    message: int
    """0: nobody is told apart."""
    campaign: int
    """0: sent by API."""


class Look(NamedTuple):
    """Who looked, as far as a request says."""

    method: str
    ip: str
    user_agent: str
    at: datetime


def mail_of(token: str) -> Mail | None:
    """Return whose link a token is from; None for one that we have not made."""
    numbers = secrets.unsign("click", token)
    return Mail(*numbers) if numbers and len(numbers) == 2 else None


def target_of(mail: Mail, token: str, number: int, sealed: str) -> str | None:
    """Return where a link leads: as it was frozen, or as it carries it. None for no link of ours.

    Raises OperationalError or InterfaceError if only the database knows, and it is away.
    """
    if sealed:
        return target_in(token, number, sealed)
    try:
        return _frozen(mail.campaign, number)
    except Link.DoesNotExist:
        return None


@lru_cache(maxsize=REMEMBERED)
def _frozen(campaign: int, number: int) -> str:
    """Remember what is there; what is not there raises, and so is not remembered."""
    return Link.objects.get(campaign=campaign, number=number, is_personal=False).url


def is_tracking_host(host: str) -> bool:
    """Say whether counted links lead to this host. While nobody can know, it is taken for one."""
    try:
        return host in tracking.hosts().values()
    except (OperationalError, InterfaceError):
        return True


# --- Noting ------------------------------------------------------------------------------


class _Keeper:
    """What could not be written yet, of one process."""

    def __init__(self) -> None:
        self.kept: deque[NewSighting] = deque(maxlen=MOST_KEPT)
        self.away_until = 0.0
        self.lost = 0
        self._lock = threading.Lock()

    def write(self, new: NewSighting) -> None:
        """Write it, and what is kept; or keep it. Never raises: the reader goes on."""
        if time.monotonic() < self.away_until:
            self._keep([new])
            return
        with self._lock:
            kept = list(self.kept)
            self.kept.clear()
        problem = self._note([*kept, new])
        if problem is None:
            return
        if kept and self._note([new]) is None:  # then it is one of those that were kept
            self._sift(kept)
        else:
            self._keep(kept)
            self._drop(problem)

    def _note(self, rows: list[NewSighting]) -> Exception | None:
        """Write rows, or keep them while the database is away.

        Return why they are neither: one of them, at least, cannot be written.
        """
        try:
            Sighting.objects.note(rows)
        except (OperationalError, InterfaceError) as error:
            self.away_until = time.monotonic() + AGAIN_AFTER_S
            self._keep(rows)
            words = "clicks_kept: the database is away (%s); kept %s, lost %s"
            logger.warning(words, type(error).__name__, len(self.kept), self.lost)
        except Exception as error:  # noqa: BLE001 (whoever asked logs it)
            return error
        return None

    def _sift(self, rows: list[NewSighting]) -> None:
        """Write all but those that cannot be written, found by halving."""
        middle = (len(rows) + 1) // 2
        for half in (rows[:middle], rows[middle:]):
            problem = self._note(half) if half else None
            if problem and len(half) == 1:
                self._drop(problem)
            elif problem:
                self._sift(half)

    def _drop(self, problem: Exception) -> None:
        self.lost += 1
        logger.error("click_dropped: it cannot be written; lost %s", self.lost, exc_info=problem)

    def _keep(self, rows: list[NewSighting]) -> None:
        with self._lock:
            self.lost += max(0, len(self.kept) + len(rows) - MOST_KEPT)
            self.kept.extend(rows)


keeper = _Keeper()
_of_one_mail = Ceiling("clicks-of-mail", ONE_MAIL)
_of_anybody = Ceiling("clicks", ANYBODY)


def note_open(mail: Mail, token: str, look: Look) -> None:
    """Note that a mail was opened."""
    _note(mail, token, look, None, "")


def note_click(mail: Mail, token: str, look: Look, number: int, target: str = "") -> None:
    """Note that a link was followed; `target`: of one that carries its address."""
    _note(mail, token, look, number, target)


def _note(mail: Mail, token: str, look: Look, number: int | None, url: str) -> None:
    ceiling, who = (_of_one_mail, token) if mail.message else (_of_anybody, look.ip)
    if ceiling.seconds_to_wait(who):
        return
    user_agent = look.user_agent.replace("\0", "")[:500]
    told, reason = None, ""
    if number == TRAP:
        told, reason = True, HIDDEN_LINK
    elif look.method == "HEAD":
        told, reason = True, ASKED_BY_HEAD
    is_named = bool(mail.message)
    if not is_named:  # what tells people from machines is not stored: it is looked at now
        kind = EventType.OPENED if number is None else EventType.CLICKED
        told = classifying.judge_alone(kind, user_agent, look.ip, told, reason).is_machine
    keeper.write(
        NewSighting(
            mail.message or None,
            mail.campaign or None,
            number,
            url,
            _address(look.ip) if is_named else None,
            user_agent if is_named else "",
            "" if is_named else looking.look_of(user_agent).device,
            told,
            reason,
            look.at,
        )
    )


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text))
    except ValueError:
        return None
