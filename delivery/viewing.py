"""A message once more, as its person got it: rendered from what was frozen, counting nothing."""

from __future__ import annotations

from campaigns import rendering
from delivery import composing, mailing
from delivery.models import Mail, Message
from delivery.querysets import Claimed


def seen(number: int) -> rendering.Rendered | None:
    """Return subject and bodies of a message; None if it, or its person, is gone.

    Its own links and texts are what they were, and so is the person, as far as they are today what
    they were then. Links lead where they lead, without a detour. Raises TemplateProblem.
    """
    rows = Message.objects.select_related("campaign", "subscriber", "mail__version")
    message = rows.filter(pk=number).first()
    if message is None:
        return None
    if message.campaign is None:
        mail: Mail | None = getattr(message, "mail", None)
        return mailing.render(mail, message.email) if mail else None
    return _of_campaign(message)


def _of_campaign(message: Message) -> rendering.Rendered | None:
    person, campaign = message.subscriber, message.campaign
    if person is None or campaign is None:
        return None
    names = ("first_name", "last_name", "language", "country", "time_zone", "attributes")
    claimed = Claimed(
        message.pk, message.email, person.pk, **{name: getattr(person, name) for name in names}
    )
    compiled = composing.compiled_of(campaign, is_counted=False)
    recipient = composing.recipient_of(compiled, claimed, message.pk)
    return rendering.Rendered(
        subject=compiled.subject.join(recipient.subject),
        html=compiled.html.join(recipient.html),
        text=compiled.text.join(recipient.text),
    )
