"""Asks people in their mailbox whether it was they who signed up.

Nobody calls it: it looks for confirmations that wait (`subscribers.confirming`). Row and mail are
one transaction, so each is asked once, whatever becomes of the process.
"""

from __future__ import annotations

import logging
from datetime import datetime
from email.utils import parseaddr

from django.conf import settings
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import formats, timezone, translation
from django.utils.translation import gettext

from campaigns.rendering import header_text
from delivery.models import Mail, Message, Stream
from subscribers import confirming, speaking
from subscribers.models import Confirmation, MailingList

logger = logging.getLogger(__name__)

MOST = 500
"""Confirmations per round, each in a transaction of its own."""


def ask_due(now: datetime) -> int:
    """Queue the mail of confirmations that wait; return how many."""
    asked = 0
    for pk in list(Confirmation.objects.due(now).order_by("created_at").values_list("pk")[:MOST]):
        asked += _ask(pk[0], now)
    return asked


@transaction.atomic
def _ask(pk: int, now: datetime) -> bool:
    """Queue one confirmation's mail, unless somebody else does."""
    rows = Confirmation.objects.due(now).select_for_update(skip_locked=True, of=("self",))
    row = rows.select_related("subscriber", "form").filter(pk=pk).first()
    if row is None:
        return False
    sender = _sender(row)
    if not sender[1]:
        logger.error("no_sender_for_confirmations", extra={"confirmation": pk})
        Confirmation.objects.filter(pk=pk).update(held_at=now)  # which raises an alert
        return False
    person = row.subscriber
    message = Message.objects.create(
        subscriber=person,
        email=person.email,
        address_key=person.address_key,
        mailbox=person.mailbox,
        stream=Stream.TRANSACTIONAL,
        due_at=now,
        wanted_at=now,
        expires_at=row.expires_at,
    )
    subject, html, text = _letter(row)
    Mail.objects.create(
        message=message,
        from_email=sender[1],
        from_name=sender[0],
        subject=subject,
        html=html,
        text=text,
        tags=["confirmation"],
    )
    Confirmation.objects.filter(pk=pk).update(queued_at=now)
    return True


def _sender(row: Confirmation) -> tuple[str, str]:
    """Return (name, address) of who asks: the form's own, or CONFIRM_FROM."""
    name, address = parseaddr(settings.CONFIRM_FROM)
    form = row.form
    if form is None:
        return name, address
    return form.from_name or name, form.from_email or address


def _letter(row: Confirmation) -> tuple[str, str, str]:
    """Return subject, html and text in the person's language.

    Nothing in it was typed by a stranger: names of lists are the team's.
    """
    language = speaking.choose("", row.language, "")
    lists = list(MailingList.objects.filter(pk__in=row.lists).values_list("name", flat=True))
    with translation.override(language):
        until = formats.date_format(timezone.localtime(row.expires_at), "DATE_FORMAT")
        context = {
            "language": language,
            "lists": lists,
            "until": until,
            "link": f"{settings.PUBLIC_URL}/s/{confirming.token_of(row)}/",
            "postal_address": settings.POSTAL_ADDRESS,
        }
        subject = gettext("Please confirm: %(lists)s") % {"lists": ", ".join(lists)}
        html = render_to_string("mail/confirm.html", context)
        text = render_to_string("mail/confirm.txt", context)
    return header_text(subject)[:200], html, text
