"""The sending loop: claim, compose, say so durably, call the provider, record (design 4.1).

No transaction is open while a provider is called. A worker may die between any two lines:
the journal of hand-offs says what it was doing, and `Handoff.objects.sweep` puts it right.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from campaigns import rendering
from campaigns.models import Campaign, Content
from delivery import breaking, composing, crashing, limiting, mailing, routing, stopping
from delivery.composing import Composed
from delivery.journaling import Journal, LeaseLost, insist, lease_of
from delivery.lanes import Lane
from delivery.models import Handoff, Message, ProviderAccount, Stream
from delivery.providers.base import Batch, OutcomeUnknown, ProviderError, Rejected, Unavailable
from delivery.querysets import Claimed, Outcome, QuotaUsed

logger = logging.getLogger(__name__)

ALL_STREAMS = tuple(Stream.values)
"""The most urgent one first."""
TURN_S = 0.5
"""How long a lane is sent before others are looked at again."""
LOOK_AHEAD = 200
"""Among so many mails of a lane From domains are looked for whose providers can be had."""
LOOK_AGAIN_S = 0.25
"""How long a slice sleeps at most while its lanes have no room: others may become due."""


def send_slice(seconds: float, streams: Sequence[str] = ALL_STREAMS) -> int:
    """Send mail of these streams until nothing is due or `seconds` are over; return how many.

    What is urgent goes first, and once more between two turns of others. A lane that has no room
    now is passed over until it has. Safe in any number of threads, processes and machines.
    """
    stop_at = time.monotonic() + seconds
    total = 0
    full: dict[Lane, float] = {}
    while (moment := time.monotonic()) < stop_at:
        limiting.report(streams)
        lanes = Message.objects.due_lanes(streams, timezone.now())
        random.shuffle(lanes)  # concurrent workers begin with different lanes
        lanes.sort(key=lambda lane: ALL_STREAMS.index(lane.stream))
        full = {lane: until for lane in lanes if (until := full.get(lane, 0.0)) > moment}
        handled = 0
        for lane in lanes:
            if lane not in full and (count := _send_lane(lane, stop_at, full)):
                handled += count + _send_urgent(lane, streams, stop_at, full)
        if not handled and not _rest(full, stop_at):
            break
        total += handled
    return total


def _send_urgent(
    after: Lane, streams: Sequence[str], stop_at: float, full: dict[Lane, float]
) -> int:
    """Send what is more urgent than a lane that had its turn just now; return how many."""
    urgent = [each for each in ALL_STREAMS[: ALL_STREAMS.index(after.stream)] if each in streams]
    if not urgent:
        return 0
    lanes = Message.objects.due_lanes(urgent, timezone.now())
    lanes.sort(key=lambda lane: ALL_STREAMS.index(lane.stream))
    moment = time.monotonic()
    return sum(_send_lane(lane, stop_at, full) for lane in lanes if full.get(lane, 0.0) <= moment)


def _rest(full: dict[Lane, float], stop_at: float) -> bool:
    """Sleep until a lane has room, LOOK_AGAIN_S at most; False: none will before `stop_at`."""
    soonest = min(full.values(), default=stop_at)
    if soonest >= stop_at:
        return False
    time.sleep(min(max(soonest - time.monotonic(), limiting.SHORTEST_S), LOOK_AGAIN_S))
    return True


def send_next(lane: Lane, campaign: Campaign | None = None) -> int:
    """Hand over one batch of a lane; return how many messages were decided or tried.

    0 means: nothing is due there, or no provider can take it now (then the campaign says so).
    Raises limiting.Full: there are limits, and none of them leaves room now.
    """
    obstacle: routing.NoProvider | limiting.Full | None = None
    tried: list[str] = []
    # Mail that nobody can take must not keep back what others could: then it is looked further.
    while not isinstance(obstacle, limiting.Full) and (domains := _domains(lane, campaign, tried)):
        for domain in domains:
            try:
                if handled := _send_from(domain, lane, campaign):
                    return handled
            except routing.NoProvider as error:
                obstacle = obstacle or error
            except limiting.Full as full:
                obstacle = full
        tried += domains
    if isinstance(obstacle, limiting.Full):
        stopping.say(campaign, str(obstacle) if obstacle.is_long else "")
        raise obstacle
    if obstacle is not None:
        stopping.say(campaign, str(obstacle))
    return 0


def _domains(lane: Lane, campaign: Campaign | None, tried: Sequence[str]) -> Sequence[str]:
    """Return the next From domains to look for a provider for, the most urgent first.

    Mail sent by API comes from many. Only if some account may not send from all of them does it
    matter which; else "" stands for any.
    """
    if campaign is not None or not routing.senders_matter():
        only = routing.domain_of(campaign.from_email) if campaign else ""
        return [] if tried else [only]
    return Message.objects.senders(lane, LOOK_AHEAD, timezone.now(), tried)


def _send_from(domain: str, lane: Lane, campaign: Campaign | None) -> int:
    """Hand over one batch, by another account if one has no room. Raises NoProvider, Full."""
    while True:
        now = timezone.now()
        route = routing.choose(lane, now, domain)
        try:
            return _send_by(route, domain, lane, campaign, now)
        except limiting.Full as full:
            routing.let_go(route)
            # Of one account only: then routing knows by now, and takes another.
            if full.account is None or not routing.has_room(lane, now, domain):
                raise


def _send_by(
    route: routing.Route, domain: str, lane: Lane, campaign: Campaign | None, now: datetime
) -> int:
    """Take room, claim, hand over. Raises Full."""
    account = route.account
    want = account.call_size if campaign and not route.is_probe else 1
    sender = campaign.from_email if campaign else ""
    grant = limiting.take(account, lane, want, now, sender)
    handoff = Handoff(
        provider=account,
        campaign=campaign,
        stream=lane.stream,
        mailbox=lane.mailbox,
        reason=route.reason,
    )
    try:
        people, left_out = Message.objects.claim(
            handoff, lane, grant.count, now, grant.quota, domain
        )
    except QuotaUsed:
        raise limiting.quota_used(grant, now) from None
    limiting.quota_seen(grant)
    if people:
        stopping.say(campaign, "")
        hand_over(handoff, people, grant)
    else:
        routing.let_go(route)
    limiting.settle(grant, handoff, [person.id for person in people])
    return len(people) + left_out


def hand_over(
    handoff: Handoff, people: Sequence[Claimed], grant: limiting.Grant | None = None
) -> None:
    """Compose the mail of a prepared hand-off, call the provider, and record what it said."""
    account = handoff.provider
    crashing.point("claimed")
    composed = _compose(handoff, people)
    if composed.failed:
        Message.objects.record(handoff.pk, composed.failed, timezone.now())
    if not composed.batch.recipients:
        _not_tried(handoff)
        handoff.move_to(Handoff.Status.DONE, finished_at=timezone.now(), size=len(people))
        return
    if handoff.campaign is None and (full := limiting.admit(composed.batch, timezone.now())):
        _wait(handoff, people, full)
        return
    crashing.point("composed")
    if grant is not None:
        grant.renew()
    if not Handoff.objects.take_off(handoff.pk, len(people), lease_of(account.provider)):
        logger.warning("handoff_lost", extra={"handoff": handoff.pk})
        return
    crashing.point("in_flight")
    try:
        _call(handoff, account, composed.batch, people)
    except LeaseLost:
        logger.warning("lease_lost", extra={"handoff": handoff.pk})


def _compose(handoff: Handoff, people: Sequence[Claimed]) -> Composed:
    if handoff.campaign is not None:
        return composing.compose(handoff.campaign, people)
    [person] = people
    return mailing.compose(person)


def _wait(handoff: Handoff, people: Sequence[Claimed], full: limiting.Full) -> None:
    """Put mail back in the queue for which its sender or recipient has no room now."""
    _not_tried(handoff)
    now = timezone.now()
    due_at = now + timedelta(seconds=max(1.0, full.until - time.monotonic()))
    queued = Message.Status.QUEUED
    waiting = [Outcome(each.id, queued, error=str(full)[:300], due_at=due_at) for each in people]
    Message.objects.record(handoff.pk, waiting, now)
    Handoff.objects.close(handoff.pk, Handoff.Status.REFUSED, 0, str(full)[:300])


def _send_lane(lane: Lane, stop_at: float, full: dict[Lane, float]) -> int:
    """Send one lane until it is empty, its turn is over, or nothing can take it.

    In `full` it is noted until when the lane has no room.
    """
    campaign = None
    if lane.campaign is not None:
        campaign = Campaign.objects.filter(pk=lane.campaign).first()
        if campaign is None or not _can_be_made(campaign):
            return 0
    turn_ends = min(stop_at, time.monotonic() + TURN_S)
    total = 0
    try:
        while handled := send_next(lane, campaign):
            total += handled
            if time.monotonic() > turn_ends:
                break
    except limiting.Full as error:
        full[lane] = error.until
    return total


def _can_be_made(campaign: Campaign) -> bool:
    """Compile the frozen content. What passed at launch and no longer does pauses the campaign."""
    try:
        composing.compiled_of(campaign)
    except rendering.TemplateProblem as problem:
        logger.exception("content_unusable", extra={"campaign": campaign.pk})
        stopping.pause(campaign, str(problem))
        return False
    except Content.DoesNotExist:
        stopping.pause(
            campaign, "its frozen content is gone. Duplicate the campaign and send the copy."
        )
        return False
    return True


def _call(
    handoff: Handoff, account: ProviderAccount, batch: Batch, people: Sequence[Claimed]
) -> None:
    """Call the provider and close the hand-off by how it went."""
    provider, now = account.provider, timezone.now
    journal = Journal(handoff, provider, people)
    try:
        for result in provider.answers(batch):
            journal.add(result)
    except Rejected as error:
        journal.write()
        _succeeded(handoff)  # It works; it is the mail that it does not want.
        rest = [person for person in people if person.id in journal.unanswered(batch)]
        _refused(handoff, rest, journal.accepted, error)
    except Unavailable as error:
        journal.rest(batch, Message.Status.QUEUED, "", due_at=now())
        _failed(handoff, error, batch.from_email)
        if error.is_throttle:
            _slow(handoff, str(error), error.retry_after)
        _close(handoff, Handoff.Status.REFUSED, journal.accepted, error)
    except OutcomeUnknown as error:
        journal.rest(batch, Message.Status.UNKNOWN, str(error))
        _failed(handoff, error, batch.from_email)
        _close(handoff, Handoff.Status.UNKNOWN, journal.accepted, error)
    else:
        journal.rest(batch, Message.Status.UNKNOWN, "The provider's answer did not name it.")
        _close(handoff, Handoff.Status.DONE, journal.accepted, None)
        _succeeded(handoff)
    _heed(handoff, journal)


def _heed(handoff: Handoff, journal: Journal) -> None:
    """Do what follows from what was said of single people."""
    if journal.throttled:
        _slow(handoff, journal.throttled)
    if journal.rejected:
        stopping.pause_if_hopeless(handoff, journal.rejected)


def _failed(handoff: Handoff, error: ProviderError, sender: str) -> None:
    """Let the breaker know, and the next choice of this process.

    Who is refused for the From address alone has found out nothing about the account.
    """
    if isinstance(error, Unavailable) and error.is_sender_fault:
        domain = routing.domain_of(sender)
        breaking.refuse_sender(handoff.provider, domain, str(error), timezone.now())
        _not_tried(handoff)
    else:
        breaking.failed(handoff.provider, error, timezone.now(), is_probe=_is_probe(handoff))
    routing.forget()


def _succeeded(handoff: Handoff) -> None:
    breaking.succeeded(handoff.provider, timezone.now(), is_probe=_is_probe(handoff))


def _not_tried(handoff: Handoff) -> None:
    """Let somebody else try the provider, if this call was to do it: it is not made."""
    if _is_probe(handoff):
        breaking.give_back(handoff.provider)


def _is_probe(handoff: Handoff) -> bool:
    return bool(handoff.reason.get("probe"))


def _slow(handoff: Handoff, why: str, retry_after: timedelta | None = None) -> None:
    """Slow the lane of a hand-off: somebody found it too fast."""
    now = timezone.now()
    limiting.slow(handoff.provider, handoff.stream, handoff.mailbox, why, now, retry_after)


def _refused(handoff: Handoff, rest: Sequence[Claimed], accepted: int, error: Rejected) -> None:
    """A whole call was refused, so nobody in it got mail: find the one at fault by halving."""
    if len(rest) > 1:
        for half, some in _split(handoff, rest, accepted, error):
            if Campaign.objects.sending().filter(handoff=half.pk).exists():
                hand_over(half, some)
            else:
                _put_back(half, some)
        return
    failed, now = [_failure(each, error) for each in rest], timezone.now()
    insist(lambda: Message.objects.record(handoff.pk, failed, now))
    _close(handoff, Handoff.Status.REFUSED, accepted, error)
    stopping.pause_if_hopeless(handoff, str(error))


def _failure(person: Claimed, error: Rejected) -> Outcome:
    fault = error.kind
    return Outcome(person.id, Message.Status.FAILED, error=str(error)[:300], fault=fault)


def _split(
    handoff: Handoff, people: Sequence[Claimed], accepted: int, error: ProviderError
) -> list[tuple[Handoff, Sequence[Claimed]]]:
    """Close a refused hand-off and give its people to two new ones, in one transaction.

    Raises LeaseLost if they are not all its own any more: the sweeper was here meanwhile.
    """
    middle = len(people) // 2
    halves: list[tuple[Handoff, Sequence[Claimed]]] = []
    with transaction.atomic():
        for some in (people[:middle], people[middle:]):
            half = Handoff.objects.prepare_again(handoff)
            passed = Message.objects.pass_on(handoff.pk, half.pk, [each.id for each in some])
            if passed != len(some):
                raise LeaseLost
            crashing.point("splitting")
            halves.append((half, some))
        if not _close(handoff, Handoff.Status.REFUSED, accepted, error):
            raise LeaseLost
    return halves


def _put_back(half: Handoff, people: Sequence[Claimed]) -> None:
    """Leave people for later whom nobody was asked to take: the campaign stopped meanwhile."""
    queued = [Outcome(each.id, Message.Status.QUEUED) for each in people]
    Message.objects.record(half.pk, queued, timezone.now())
    Handoff.objects.close(half.pk, Handoff.Status.REFUSED, 0, "The campaign stopped.")


def _close(handoff: Handoff, status: str, accepted: int, error: ProviderError | None) -> bool:
    """End a hand-off; False: the sweeper did."""
    words, trouble = str(error or "")[:300], breaking.trouble_of(error)
    return insist(lambda: Handoff.objects.close(handoff.pk, status, accepted, words, trouble))
