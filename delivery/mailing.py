"""Mail sent by API: from what was asked to what a provider is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from django.conf import settings

from campaigns import personalising, rendering
from campaigns.models import TemplateVersion, TrackedBy
from delivery.composing import Composed, is_provider_to_count, unmade
from delivery.models import Mail, Stream, token_of
from delivery.providers.mail import Address, Attachment, Batch, Recipient, Skeleton
from delivery.querysets import Claimed
from delivery.tracking import tracking_base
from emailplatform.secrets import address_key
from subscribers.models import Suppression


def compose(person: Claimed) -> Composed:
    """Return the batch of one message that was sent by API; it fails if it cannot be rendered."""
    mail = Mail.objects.select_related("version", "message").get(pk=person.id)
    try:
        rendered = render(mail, person.email)
    except rendering.TemplateProblem as problem:
        return Composed(_batch(mail, rendering.Rendered("", "", ""), []), [unmade(person, problem)])
    rendered = _counted(mail, rendered)
    stopped = _stopped(mail)
    recipient = Recipient(
        message_id=token_of(person.id),
        email=person.email,
        name=mail.to_name,
        headers=_headers(mail),
        more_to=_addresses(mail.people("to"), stopped),
        cc=_addresses(mail.people("cc"), stopped),
        bcc=_addresses(mail.people("bcc"), stopped),
    )
    return Composed(_batch(mail, rendered, [recipient]), [])


def _counted(mail: Mail, rendered: rendering.Rendered) -> rendering.Rendered:
    """Return the mail with our own pixel and links, as far as its sender wants them."""
    if mail.tracking != TrackedBy.FULL or not (mail.track_opens or mail.track_clicks):
        return rendered
    tracking = rendering.Tracking(
        numbers={},
        opens=mail.track_opens,
        clicks=mail.track_clicks,
        has_trap=settings.TRACKING_HIDDEN_LINK,
    )
    base = personalising.tracking_url(tracking_base(mail.from_email), mail.message_id, 0)
    html = rendering.tracked_mail(rendered.html, tracking, base) if rendered.html else ""
    return replace(rendered, html=html)


def render(mail: Mail, email: str) -> rendering.Rendered:
    """Return subject and bodies of a mail. Raises rendering.TemplateProblem."""
    if mail.version is None:
        return rendering.Rendered(mail.subject, mail.html, mail.text)
    context = context_of(mail, email)
    names = frozenset({*personalising.PERSON_NAMES, *context})
    return _compiled(mail.version, names, mail.from_name).render(context)


def context_of(mail: Mail, email: str) -> Mapping[str, Any]:
    """Return the variables of a mail's template: the caller's, and what is known of the person."""
    first, _, last = mail.to_name.partition(" ")
    return {
        "first_name": first,
        "last_name": last,
        "full_name": mail.to_name,
        "language": mail.locale,
        "country": "",
        "time_zone": "",
        "attributes": {},
        **mail.context,
        "email": email,
        **personalising.links_of(mail.message_id or personalising.TEST_MESSAGE),
    }


def _batch(mail: Mail, rendered: rendering.Rendered, recipients: list[Recipient]) -> Batch:
    return Batch(
        from_email=mail.from_email,
        from_name=mail.from_name,
        reply_to=mail.reply_to,
        subject=Skeleton((rendered.subject,)),
        html=Skeleton((rendered.html,)),
        text=Skeleton((rendered.text,)),
        recipients=recipients,
        headers=mail.headers,
        tag=mail.tags[0] if mail.tags else "",
        tags=mail.tags[1:],
        metadata=mail.metadata,
        attachments=[
            Attachment(each.filename, each.content_type, bytes(each.content), each.content_id)
            for each in mail.attachments.all()
        ],
        is_transactional=mail.message.stream != Stream.MARKETING,
        track_opens=is_provider_to_count(mail) and mail.track_opens,
        track_clicks=is_provider_to_count(mail) and mail.track_clicks,
    )


def _stopped(mail: Mail) -> set[str]:
    """Return which of the copies go to addresses that must not be mailed."""
    emails = [email for kind in ("to", "cc", "bcc") for email, _ in mail.people(kind)]
    if not emails:
        return set()
    by_key = {address_key(email): email for email in emails}
    rows = Suppression.objects.stopping(mail.message.stream).filter(address_key__in=list(by_key))
    return {by_key[bytes(key)] for key in rows.values_list("address_key", flat=True)}


def _addresses(people: Sequence[tuple[str, str]], stopped: set[str]) -> list[Address]:
    return [Address(email, name) for email, name in people if email not in stopped]


def _headers(mail: Mail) -> dict[str, str]:
    headers = {"Message-ID": f"<{token_of(mail.message_id)}@{settings.MESSAGE_ID_DOMAIN}>"}
    if mail.message.stream == Stream.MARKETING:
        url = personalising.unsubscribe_url(mail.message_id)
        # RFC 8058: one POST to this address ends it, without a page in between.
        headers |= {
            "List-Unsubscribe": f"<{url}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
    return headers


@lru_cache(maxsize=128)
def _compiled(version: TemplateVersion, names: frozenset[str], company: str) -> rendering.Compiled:
    """Compile a version; it never changes, so it is kept by its key."""
    return rendering.compile_source(
        rendering.Source(**version.as_source()),
        names=names,
        constants=personalising.constants_for(company),
    )
