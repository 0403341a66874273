"""Mail sent by API: from what was asked to what a provider is given."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings

from campaigns import personalising, rendering
from campaigns.models import TemplateVersion
from delivery.composing import Composed, unmade
from delivery.models import Mail, Stream, token_of
from delivery.providers.base import Batch, Recipient, Skeleton
from delivery.querysets import Claimed


def compose(person: Claimed) -> Composed:
    """Return the batch of one message that was sent by API; it fails if it cannot be rendered."""
    mail = Mail.objects.select_related("version", "message").get(pk=person.id)
    try:
        rendered = render(mail, person.email)
    except rendering.TemplateProblem as problem:
        return Composed(_batch(mail, rendering.Rendered("", "", ""), []), [unmade(person, problem)])
    recipient = Recipient(
        message_id=token_of(person.id),
        email=person.email,
        name=mail.to_name,
        headers=_headers(mail),
    )
    return Composed(_batch(mail, rendered, [recipient]), [])


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
        "unsubscribe_url": personalising.unsubscribe_url(mail.message_id),
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
        track_opens=mail.track_opens,
        track_clicks=mail.track_clicks,
    )


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
