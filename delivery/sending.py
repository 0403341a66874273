"""The sending loop: claim, compose, say so durably, call the provider, record (design 4.1).

No transaction is open while a provider is called. A worker may die between any two lines:
the journal of hand-offs says what it was doing, and `Handoff.objects.sweep` puts it right.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from campaigns import rendering
from campaigns.models import Campaign
from delivery import composing, routing
from delivery.models import CampaignStat, Handoff, Message, ProviderAccount, Stream, message_of
from delivery.providers.base import (
    Batch,
    OutcomeUnknown,
    ProviderError,
    Rejected,
    Result,
    Unavailable,
    Verdict,
)
from delivery.querysets import Claimed, Outcome
from emailplatform.states import InvalidTransition

logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(minutes=1)
"""Until a recipient is tried again whose mailbox was temporarily refused."""
HOPELESS_AFTER = 50
"""So many refused, and fewer sent: a campaign pauses itself."""
RECORD_EVERY_S = 0.2
"""How long results of one call are gathered before they are written."""
RENEW_EVERY_S = 10.0
"""How old a lease may get while answers come: a small part of FLIGHT_LEASE."""

STATUS_OF = {
    Verdict.ACCEPTED: Message.Status.SENT,
    Verdict.REJECTED: Message.Status.FAILED,
    Verdict.UNAVAILABLE: Message.Status.QUEUED,
    Verdict.UNKNOWN: Message.Status.UNKNOWN,
}


class LeaseLost(Exception):
    """The sweeper took this hand-off for dead: whoever holds it must stop at once."""


def send_slice(seconds: float) -> int:
    """Send marketing mail until nothing is due or `seconds` are over; return messages handled.

    Safe in any number of threads, processes and machines.
    """
    stop_at = time.monotonic() + seconds
    total = 0
    while time.monotonic() < stop_at:
        lanes = Message.objects.due_lanes(timezone.now())
        random.shuffle(lanes)  # concurrent workers begin with different lanes
        handled = sum(_send_lane(campaign, mailbox, stop_at) for campaign, mailbox in lanes)
        if not handled:
            break
        total += handled
    return total


def send_next(campaign: Campaign, mailbox: str) -> int:
    """Hand over one batch of a lane; return how many messages were decided or tried.

    0 means: nothing is due there, or no provider can take it now (then the campaign says so).
    """
    now = timezone.now()
    try:
        route = routing.choose(Stream.MARKETING, campaign, now)
    except routing.NoProvider as error:
        Campaign.objects.filter(pk=campaign.pk).update(problem=str(error)[:500])
        return 0
    handoff = Handoff(
        provider=route.account,
        campaign=campaign,
        stream=Stream.MARKETING,
        mailbox=mailbox,
        reason=route.reason,
    )
    people, left_out = Message.objects.claim(handoff, route.account.call_size, now)
    if people:
        if campaign.problem:
            Campaign.objects.filter(pk=campaign.pk).update(problem="")
        hand_over(handoff, people)
    return len(people) + left_out


def hand_over(handoff: Handoff, people: Sequence[Claimed]) -> None:
    """Compose the mail of a prepared hand-off, call the provider, and record what it said."""
    campaign, account = handoff.campaign, handoff.provider
    if campaign is None:
        raise ValueError("A hand-off of a campaign is expected.")
    composed = composing.compose(campaign, people)
    if composed.failed:
        Message.objects.record(handoff.pk, composed.failed, timezone.now())
    if not composed.batch.recipients:
        handoff.move_to(Handoff.Status.DONE, finished_at=timezone.now(), size=len(people))
        return
    if not Handoff.objects.take_off(handoff.pk, len(people)):
        logger.warning("handoff_lost", extra={"handoff": handoff.pk})
        return
    try:
        _call(handoff, account, composed.batch, people)
    except LeaseLost:
        logger.warning("lease_lost", extra={"handoff": handoff.pk})


def _send_lane(campaign_pk: int, mailbox: str, stop_at: float) -> int:
    """Send one lane until it is empty, its turn is over, or nothing can take it."""
    campaign = Campaign.objects.get(pk=campaign_pk)
    if not _can_be_made(campaign):
        return 0
    turn_ends = min(stop_at, time.monotonic() + 0.5)
    total = 0
    while handled := send_next(campaign, mailbox):
        total += handled
        if time.monotonic() > turn_ends:
            break
    return total


def _can_be_made(campaign: Campaign) -> bool:
    """Compile the frozen content. What passed at launch and no longer does pauses the campaign."""
    try:
        composing.compiled_of(campaign)
    except rendering.TemplateProblem as problem:
        logger.exception("content_unusable", extra={"campaign": campaign.pk})
        _pause(campaign, str(problem))
        return False
    return True


def _call(
    handoff: Handoff, account: ProviderAccount, batch: Batch, people: Sequence[Claimed]
) -> None:
    """Call the provider and close the hand-off by how it went."""
    journal = _Journal(handoff, each=account.provider.answers_one_by_one)
    try:
        for result in account.provider.send(batch):
            journal.add(result)
    except Rejected as error:
        journal.write()
        rest = [person for person in people if person.id in journal.unanswered(batch)]
        _refused(handoff, rest, journal.accepted, error)
    except Unavailable as error:
        account.cool(str(error), timezone.now(), error.retry_after)
        journal.rest(batch, Message.Status.QUEUED, "", due_at=timezone.now())
        _close(handoff, Handoff.Status.REFUSED, journal.accepted, error)
    except OutcomeUnknown as error:
        account.cool(str(error), timezone.now())
        journal.rest(batch, Message.Status.UNKNOWN, str(error))
        _close(handoff, Handoff.Status.UNKNOWN, journal.accepted, error)
    else:
        if account.failures:
            account.warm()
        journal.rest(batch, Message.Status.UNKNOWN, "The provider's answer did not name it.")
        _close(handoff, Handoff.Status.DONE, journal.accepted, None)


class _Journal:
    """Writes results as they come: one by one where each is a conversation, else in groups."""

    def __init__(self, handoff: Handoff, *, each: bool) -> None:
        self.handoff, self.each = handoff, each
        self.accepted = 0
        self._told: set[str] = set()
        self._pending: list[Outcome] = []
        self._written_at = self._renewed_at = time.monotonic()

    def add(self, result: Result) -> None:
        self._told.add(result.message_id)
        self.accepted += result.verdict == Verdict.ACCEPTED
        self._pending.append(_outcome(result, timezone.now()))
        if self.each or time.monotonic() - self._written_at > RECORD_EVERY_S:
            self.write()
            self._renew()

    def _renew(self) -> None:
        """Keep the lease from running out. Nobody can have taken a younger one for dead."""
        if time.monotonic() - self._renewed_at > RENEW_EVERY_S:
            if not Handoff.objects.renew(self.handoff.pk):
                raise LeaseLost
            self._renewed_at = time.monotonic()

    def write(self) -> None:
        if self._pending:
            Message.objects.record(self.handoff.pk, self._pending, timezone.now())
        self._pending = []
        self._written_at = time.monotonic()

    def unanswered(self, batch: Batch) -> set[int]:
        """Our ids of the recipients the provider has said nothing about."""
        tokens = (each.message_id for each in batch.recipients if each.message_id not in self._told)
        return {pk for pk in map(message_of, tokens) if pk is not None}

    def rest(self, batch: Batch, status: str, error: str, due_at: datetime | None = None) -> None:
        """Write the same outcome for everybody without an answer, and all that is pending."""
        error = error[:300]
        ids = sorted(self.unanswered(batch))
        self._pending += [Outcome(pk, status, error=error, due_at=due_at) for pk in ids]
        self.write()


def _outcome(result: Result, now: datetime) -> Outcome:
    pk = message_of(result.message_id)
    if pk is None:
        raise ValueError(f"{result.message_id!r} is no id of a message.")
    return Outcome(
        pk,
        STATUS_OF[result.verdict],
        provider_message_id=result.provider_message_id[:200],
        error=result.reason[:300],
        due_at=now + RETRY_AFTER if result.verdict == Verdict.UNAVAILABLE else None,
    )


def _refused(
    handoff: Handoff, rest: Sequence[Claimed], accepted: int, error: ProviderError
) -> None:
    """A whole call was refused, so nobody in it got mail: find the one at fault by halving."""
    if len(rest) > 1:
        for half, some in _split(handoff, rest, accepted, error):
            hand_over(half, some)
        return
    failed = [Outcome(each.id, Message.Status.FAILED, error=str(error)[:300]) for each in rest]
    Message.objects.record(handoff.pk, failed, timezone.now())
    _close(handoff, Handoff.Status.REFUSED, accepted, error)
    _pause_if_hopeless(handoff, error)


def _pause_if_hopeless(handoff: Handoff, error: ProviderError) -> None:
    """Pause a campaign of which nearly everything is refused: it is the mail, not the people."""
    campaign = handoff.campaign
    if campaign is None:
        return
    refused = Message.objects.filter(campaign=campaign, status=Message.Status.FAILED)
    if refused[:HOPELESS_AFTER].count() < HOPELESS_AFTER:
        return
    if sum(CampaignStat.objects.sent_by_provider(campaign.pk).values()) < HOPELESS_AFTER:
        _pause(campaign, f"{HOPELESS_AFTER} mails were refused and fewer accepted. {error}")


def _pause(campaign: Campaign, why: str) -> None:
    """Stop a campaign and say why, unless it was stopped already."""
    with contextlib.suppress(InvalidTransition):
        campaign.move_to(Campaign.Status.PAUSED, problem=f"Paused: {why}"[:500])


def _split(
    handoff: Handoff, people: Sequence[Claimed], accepted: int, error: ProviderError
) -> list[tuple[Handoff, Sequence[Claimed]]]:
    """Close a refused hand-off and give its people to two new ones, in one transaction."""
    middle = len(people) // 2
    halves: list[tuple[Handoff, Sequence[Claimed]]] = []
    with transaction.atomic():
        for some in (people[:middle], people[middle:]):
            half = Handoff.objects.prepare_again(handoff)
            Message.objects.pass_on(handoff.pk, half.pk, [person.id for person in some])
            halves.append((half, some))
        _close(handoff, Handoff.Status.REFUSED, accepted, error)
    return halves


def _close(handoff: Handoff, status: str, accepted: int, error: ProviderError | None) -> None:
    """End a hand-off, unless the sweeper did."""
    Handoff.objects.close(handoff.pk, status, accepted, str(error or "")[:300])
