"""Fetches bounces and complaints out of a mailbox and stores them, as `ingest_bounce` does.

How far a mailbox was fetched is kept by the server's numbers (UID), not by its marks: a person who
looks into it hides nothing. The number moves on in the transaction that stores the mail.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from delivery import alerting
from delivery.models import ProviderAccount
from delivery.providers import letters
from emailplatform.env import Mailbox
from emailplatform.errors import DomainError
from webhooks import taking
from webhooks.fetching import CannotFetch, Folder
from webhooks.models import MailboxPosition

logger = logging.getLogger(__name__)

KIND = "bounce_mailbox"
MOST_MAILS = 500
"""In one go; the rest comes next time."""
MOST_TIME = timedelta(seconds=60)


def poll(mailbox: Mailbox | None, now: datetime) -> int:
    """Store what is new in the mailbox, and tell operators if that cannot be; return how many."""
    if mailbox is None:
        return 0
    try:
        stored = fetch(mailbox, now)
    except (CannotFetch, DomainError) as error:
        logger.warning("bounces_not_fetched", extra={"error": str(error)})
        words = f"Bounces are not fetched: {error} Dead addresses are mailed on until they are."
        alerting.raise_alert(KIND, _name(mailbox), words, {"host": mailbox.host}, now, times=0)
        return 0
    alerting.resolve(KIND, _name(mailbox), now)
    return stored


def fetch(mailbox: Mailbox, now: datetime) -> int:
    """Store what is new in the mailbox, up to MOST_MAILS or for MOST_TIME; return how many.

    Raises CannotFetch; what was stored by then stays and is not fetched again.
    """
    fallback = taking.account_named("")
    stop_at = time.monotonic() + MOST_TIME.total_seconds()
    box, _ = MailboxPosition.objects.get_or_create(name=_name(mailbox))
    stored: list[int] = []
    with Folder(mailbox, settings.READ_TIMEOUT_S) as folder:
        if folder.uid_validity != box.uid_validity and not _move(box, folder.uid_validity, 0, now):
            return 0
        for number in folder.numbers_after(box.last_uid):
            if len(stored) >= MOST_MAILS or time.monotonic() > stop_at:
                break
            body = folder.body(number, letters.READ_AT_MOST)
            if not _store(box, number, body, fallback, now):
                break
            stored.append(number)
        folder.mark_seen(stored)
    return len(stored)


def _store(
    box: MailboxPosition, number: int, body: bytes | None, fallback: ProviderAccount, now: datetime
) -> bool:
    """Store one mail and move on; False if somebody else did so meanwhile."""
    with transaction.atomic():
        if not _move(box, box.uid_validity, number, now):
            return False
        if body is not None:
            taking.take_mail(body, "", fallback)
    return True


def _move(box: MailboxPosition, uid_validity: int, uid: int, now: datetime) -> bool:
    if not MailboxPosition.objects.move(box, uid_validity, uid, now):
        return False
    box.uid_validity, box.last_uid = uid_validity, uid
    return True


def _name(mailbox: Mailbox) -> str:
    return f"{mailbox.user} at {mailbox.host}:{mailbox.port}, {mailbox.folder}"
