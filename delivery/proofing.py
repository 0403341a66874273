"""A campaign's mail to oneself, as one person will get it: the same way as all others."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from campaigns import personalising
from campaigns.models import Campaign
from delivery import composing, routing
from delivery.lanes import Lane
from delivery.models import Stream
from delivery.providers.base import Batch, OutcomeUnknown, Provider, ProviderError, Verdict
from emailplatform.errors import DomainError
from subscribers.mailboxes import Mailbox

MARK = "[Test] "


class NotAccepted(DomainError):
    """The provider did not take a test mail; `str()` says what it answered."""

    code = "test_not_accepted"


def send_test(
    campaign: Campaign, to_email: str, person: personalising.Person, now: datetime
) -> str:
    """Send the mail of `person` to another address; return what the provider answered, in words.

    Raises TemplateProblem, NoProvider, or NotAccepted. Nothing is counted or tracked.
    """
    compiled = composing.compiled_of(campaign, is_counted=False)
    recipient = composing.recipient_of(compiled, person, personalising.TEST_MESSAGE)
    sender = routing.domain_of(campaign.from_email)
    route = routing.choose(Lane(Stream.MARKETING, Mailbox.OTHER, campaign.pk), now, sender)
    batch = composing.batch_of(campaign, compiled, [replace(recipient, email=to_email, name="")])
    first, *rest = batch.subject.static
    marked = replace(batch.subject, static=(MARK + first, *rest))
    quiet = replace(batch, subject=marked, track_opens=False, track_clicks=False, tag="test")
    known_as = _call(route.account.provider, quiet)
    return f"{route.account.name} accepted the test to {to_email}{known_as}."


def _call(provider: Provider, batch: Batch) -> str:
    """Hand one mail over; return the provider's id for it in words, if it said one."""
    try:
        [result] = provider.answers(batch)
    except OutcomeUnknown as error:
        raise NotAccepted(f"The test may have been sent or not: {error}") from error
    except ProviderError as error:
        raise NotAccepted(f"The test was not sent: {error}") from error
    if result.verdict is not Verdict.ACCEPTED:
        raise NotAccepted(f"The test was not sent: {result.reason}")
    return f" as {result.provider_message_id}" if result.provider_message_id else ""
