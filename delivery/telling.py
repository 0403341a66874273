"""Carries alerts out of the house: e-mail through our own engine, and a signed webhook.

From an outbox, so that a crash loses none. A webhook may be posted twice, with the same id.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from campaigns.rendering import header_text
from delivery import alerting
from delivery.models import Mail, Message, Notice, Stream
from emailplatform import posting
from emailplatform.errors import InvalidInput
from emailplatform.posting import Endpoint
from emailplatform.secrets import address_key
from subscribers.mailboxes import mailbox_of

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
"""Longer than a call: afterwards whoever took a notice is taken for dead."""
MOST = 20
"""Notices per round and channel: a slow receiver keeps nobody else waiting for long."""
WAITS = tuple(
    timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 1800, *[3600] * 5, *[14_400] * 4)
)
"""Before the second try of a webhook, the third, …: about a day; then it is given up."""
MAIL_LIFE = timedelta(hours=24)


def tell(now: datetime) -> int:
    """Tell operators what is to be told now; return how many notices went out."""
    alerting.queue_notices(now)
    return _mail_due(now) + _post_due(now)


def _mail_due(now: datetime) -> int:
    """Queue the mail of notices: in one transaction with their end, so each exactly once."""
    told = 0
    while told < MOST:
        with transaction.atomic():
            notice = Notice.objects.take(now, LEASE, Notice.Channel.EMAIL)
            if notice is None:
                break
            for address in settings.OPERATORS:
                _queue_mail(address, notice.body, now)
            Notice.objects.filter(pk=notice.pk).update(sent_at=now, error="")
        told += 1
    return told


def _queue_mail(address: str, body: dict[str, Any], now: datetime) -> None:
    """Queue one critical mail. No type: a late alert must not raise the next one."""
    message = Message.objects.create(
        email=address,
        address_key=address_key(address),
        mailbox=mailbox_of(address),
        stream=Stream.CRITICAL,
        due_at=now,
        expires_at=now + MAIL_LIFE,
    )
    Mail.objects.create(
        message=message,
        from_email=settings.ALERT_FROM,
        from_name="E-mail platform",
        subject=_headline(body),
        text=_letter(body),
        tags=["alert"],
    )


def _headline(body: dict[str, Any]) -> str:
    data = body["data"]
    over = "Over: " if body["type"] == "alert.resolved" else ""
    # A campaign's name may have a line break; no header has.
    return header_text(f"{over}{data['label']}: {data['subject']}")


def _letter(body: dict[str, Any]) -> str:
    data = body["data"]
    lines = [data["text"], ""]
    if body["type"] == "alert.resolved":
        lines = [f"This is over since {_moment(data['resolved_at'])}. It was:", "", *lines]
    lines.append(f"First seen: {_moment(data['raised_at'])}")
    if data["count"] > 1:
        lines.append(f"Seen {data['count']} times, last {_moment(data['last_at'])}")
    return "\n".join([*lines, "", data["url"], ""])


def _moment(iso: str) -> str:
    return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M:%S} UTC"


def _post_due(now: datetime) -> int:
    told = 0
    for _ in range(MOST):
        notice = Notice.objects.take(now, LEASE, Notice.Channel.WEBHOOK)
        if notice is None:
            break
        told += _post(notice, now)
    return told


def _post(notice: Notice, now: datetime) -> bool:
    """Post one notice and write down how it went; return if it was taken."""
    error = _posted(notice, now)
    row = Notice.objects.filter(pk=notice.pk, sent_at=None)
    if not error:
        return bool(row.update(sent_at=now, error=""))
    logger.warning("alert_not_told", extra={"notice": notice.pk, "why": error})
    if notice.attempts > len(WAITS):
        row.update(given_up_at=now, error=error[:300])
    else:
        row.update(due_at=now + WAITS[notice.attempts - 1], error=error[:300])
    return False


def _posted(notice: Notice, now: datetime) -> str:
    endpoint = Endpoint(settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRET)
    body = json.dumps(notice.body, separators=(",", ":")).encode()
    try:
        endpoint.check()
    except InvalidInput as problem:
        return str(problem)
    return posting.post(endpoint, notice.uid, body, now)
