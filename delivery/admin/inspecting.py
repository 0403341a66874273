"""What the page of a message shows: its tries, and of mail sent by API what was asked for."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models.functions import Length
from django.http import HttpRequest, JsonResponse
from django.urls import reverse

from campaigns.admin.previews import GUARD
from campaigns.rendering import TemplateProblem
from delivery import mailing
from delivery.admin import reasons
from delivery.models import Attachment, Handoff, Mail, Message
from delivery.tracing import Trace, Try
from emailplatform.admin import Button
from emailplatform.formats import span

Status = Message.Status
_TRY_TONES = {Status.SENT: "info", Status.QUEUED: "warn", Status.FAILED: "bad"}
_SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Attached pictures that a preview shows where the mail has them."""
_MOST_SHOWN = 5_000_000
"""Bytes of them together."""
_CID = re.compile(r"cid:([A-Za-z0-9_.@+-]{1,100})")


class Line(NamedTuple):
    """One try as a timeline shows it."""

    at: datetime
    label: str
    tone: str
    detail: str
    reason: str
    """Why it went this way."""
    handoff: Handoff | None


def tries(trace: Trace) -> list[Line]:
    """Return the hand-offs of a message, the first one first."""
    total = len(trace.tries) + trace.earlier
    lines = []
    for number, each in enumerate(trace.tries, trace.earlier + 1):
        which = f"Try {number} of {total}: " if total > 1 else ""
        verb = "Accepted" if each.status == Status.SENT else each.label
        label = f"{which}{verb} by {each.provider or 'a provider that is gone'}"
        tone = _TRY_TONES.get(Status(each.status), "warn")
        lines.append(Line(each.at, label, tone, _said(each), _way(each), each.handoff))
    return lines


def _said(tried: Try) -> str:
    if not tried.whole:
        return tried.error
    sizes = ", ".join(str(each.size) for each in tried.whole)
    halved = f"Calls of {sizes} were refused as a whole and halved, until this one was left."
    return f"{tried.error} {halved}".strip()


def _way(tried: Try) -> str:
    """Return why this provider: of a part of a halved call, why the whole call went there."""
    handoff = tried.whole[0] if tried.whole else tried.handoff
    return reasons.why(handoff) if handoff else ""


# --- Mail sent by API --------------------------------------------------------------------


def facts_of(request: HttpRequest, message: Message) -> dict[str, Any]:
    """Return what was asked for, for whom may see it; nothing for mail of a campaign."""
    if message.campaign_id is not None:
        return {}
    facts: dict[str, Any] = {"buttons": _buttons(request, message), "promise": _promise(message)}
    if request.user.has_perm("delivery.view_mail"):
        rows = Mail.objects.select_related("api_key", "version__template", "resend_of")
        mail = rows.filter(pk=message.pk).first()
        facts |= {"mail": mail, **(_content(mail) if mail else {})}
    return facts


def _content(mail: Mail) -> dict[str, Any]:
    sized = mail.attachments.annotate(size=Length("content")).defer("content")
    again = mail.message.resends.select_related("message").order_by("-pk")[:20]
    return {
        "copies": {kind: mail.people(kind) for kind in ("to", "cc", "bcc")},
        "files": list(sized),
        "again": [each.message for each in again],
    }


def _buttons(request: HttpRequest, message: Message) -> list[Button]:
    """Return what can be done with a mail in its state, the likeliest last."""
    if not request.user.has_perms(["delivery.change_message", "delivery.view_mail"]):
        return []
    status = Status(message.status)
    address = message.email
    twice = f"Send this mail to {address} once more? Whoever has it already gets it twice."
    again = Button("Send once more", _url("resend", message), "forward_to_inbox", "", True, twice)
    if status == Status.QUEUED:
        question = f"Do not send this mail to {address}?"
        return [Button("Cancel", _url("cancel", message), "cancel", "danger", True, question)]
    if status in {Status.FAILED, Status.EXPIRED}:
        question = f"Try again to send this mail to {address}? Mend first what the reason names."
        retry = Button("Try again", _url("retry", message), "refresh", "primary", True, question)
        return [again, retry]
    return [] if status == Status.SENDING else [again]


def _url(name: str, message: Message) -> str:
    return reverse(f"admin:delivery_mailmessage_{name}", args=[message.pk])


class Promise(NamedTuple):
    """The time within which a mail of this type should be with a provider, and if it was."""

    label: str
    tone: str
    sentence: str


def _promise(message: Message) -> Promise | None:
    """Return the promise of a mail's type; None for mail of no type."""
    if message.type is None:
        return None
    promised = span(message.type.deadline)
    if message.sent_at is None:
        return Promise("open", "quiet", f"a provider should have it within {promised}")
    took = message.sent_at - began_at(message)
    is_kept = took <= message.type.deadline
    label, tone = ("kept", "ok") if is_kept else ("missed", "bad")
    return Promise(label, tone, f"it took {span(took)} of {promised}")


def began_at(message: Message) -> datetime:
    """Return when the clock of its promise began: when it was asked for, or when it was to go out.

    A retry moves `due_at`, so with several tries only the end of its life tells of `send_at`.
    """
    if message.attempts <= 1:
        return max(message.created_at, message.due_at)
    if message.type is None or message.expires_at is None:
        return message.created_at
    return max(message.created_at, message.expires_at - message.type.expires_after)


def preview(mail: Mail) -> JsonResponse:
    """Return a mail as it was sent, rendered again: {subject, html, text, problems}."""
    mail = Mail.objects.select_related("version", "message").get(pk=mail.pk)
    try:
        shown = mailing.render(mail, mail.message.email)
    except TemplateProblem as problem:
        return _answer("", "", "", [str(problem)])
    html = GUARD + _with_pictures(shown.html, list(mail.attachments.exclude(content_id="")))
    return _answer(shown.subject, html if shown.html else "", shown.text, [])


def _answer(subject: str, html: str, text: str, problems: list[str]) -> JsonResponse:
    answer = {"subject": subject, "html": html, "text": text, "problems": problems}
    return JsonResponse(answer, headers={"Cache-Control": "no-store"})


def _with_pictures(html: str, files: Sequence[Attachment]) -> str:
    """Return the HTML with attached pictures inside: a frame cannot fetch cid: addresses."""
    inside, left = {}, _MOST_SHOWN
    for file in files:
        content = bytes(file.content)
        if file.content_type in _SHOWN and len(content) <= left:
            left -= len(content)
            code = base64.b64encode(content).decode()
            inside[file.content_id] = f"data:{file.content_type};base64,{code}"
    return _CID.sub(lambda found: inside.get(found[1], found[0]), html)
