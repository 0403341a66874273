"""Did this person get it? One plain sentence, from all that is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from campaigns.belonging import Belonging, OnList
from campaigns.models import Campaign
from delivery.models import Message
from delivery.sparing import HOLDOUT
from delivery.tracing import Trace
from emailplatform.formats import exact, span
from subscribers.mailboxes import Mailbox
from subscribers.models import Subscriber, Subscription, Suppression
from webhooks.recounting import Moment

_MAILBOXES: Mapping[str, str] = MappingProxyType(
    {
        Mailbox.GMAIL: "Gmail",
        Mailbox.MICROSOFT: "Microsoft",
        Mailbox.YAHOO: "Yahoo",
        Mailbox.APPLE: "Apple",
    }
)
_CLOSED: Mapping[str, str] = MappingProxyType(
    {
        "unsubscribed": "has unsubscribed from everything",
        "bounced": "cannot be reached: mail to this address came back for good",
        "complained": "has reported our mail as spam",
        "blocked": "was blocked by the team",
        "soft_bounced": "rests: mail to this address came back too often",
        "pending": "has not confirmed the address yet",
    }
)
"""Status of a person, or reason of a suppression -> what it means."""

_WISHES: Mapping[str, str] = MappingProxyType(
    {
        "paused": "had asked for a rest from campaigns on the preference page",
        "too often": "wants fewer campaigns, and had got another one shortly before",
    }
)
"""What people chose on their preference page -> what it means."""
_KEPT_OUT: Mapping[str, str] = MappingProxyType(
    {
        **_WISHES,
        "held": "was held back: something was wrong with the address",
        HOLDOUT: "is held out by chance, to compare with those who get it",
    }
)
"""What keeps a person out though they are in the audience -> what it means."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer: yes, no, or None while it is open."""

    got_it: bool | None
    sentence: str
    tone: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one campaign and one address."""

    campaign: Campaign
    address: str
    person: Subscriber | None
    suppression: Suppression | None
    belonging: Belonging | None
    """None of somebody who is not known."""
    audience_read_at: datetime | None
    """When the audience had become messages; None before."""
    message: Message | None
    trace: Trace
    moments: list[Moment]
    """The first one first."""

    @property
    def who(self) -> str:
        return (self.person and self.person.first_name) or self.address

    @property
    def mailbox(self) -> str:
        domain = self.address.rpartition("@")[2]
        return _MAILBOXES.get(self.message.mailbox, domain) if self.message else domain

    @property
    def provider(self) -> str:
        known = self.message and self.message.provider
        return str(known or "a provider")

    def said(self, *types: str) -> str:
        """Return the last reason that an event of these types gave."""
        told = [each.event.reason for each in self.moments if each.event.type in types]
        return next((reason for reason in reversed(told) if reason), "")


def judge(facts: Facts) -> Verdict:
    """Return the verdict on a campaign and an address."""
    if facts.message is not None:
        return _BY_STATUS[Message.Status(facts.message.status)](facts, facts.message)
    if facts.campaign.launched_at is None:
        return _not_launched(facts)
    return _without_message(facts)


# --- There is a message ------------------------------------------------------------------


def _sent(facts: Facts, message: Message) -> Verdict:
    if message.delivered_at or message.complained_at or message.unsubscribed_at:
        return _arrived(facts, message)
    if message.bounced_at:
        said = _quoted(facts.said("bounced"))
        how = "sent it back for good" if message.bounce_class == "hard" else "did not take it"
        on = exact(message.bounced_at)
        return Verdict(
            False, f"{facts.who} did not get it: {facts.mailbox} {how} on {on}{said}.", "bad"
        )
    if message.dropped_at:
        on, said = exact(message.dropped_at), _quoted(facts.said("dropped", "failed"))
        return Verdict(
            False,
            f"{facts.who} did not get it: {facts.provider} dropped it on {on} instead of sending "
            f"it{said}.",
            "bad",
        )
    since = exact(message.sent_at or message.created_at)
    if message.deferred_at:
        said = _quoted(facts.said("deferred"))
        sentence = f"Not yet: {facts.provider} has it since {since}, and {facts.mailbox} delays it"
        return Verdict(None, f"{sentence}{said}.", "warn")
    return Verdict(
        None,
        f"It went out: {facts.provider} took it on {since}. Whether it reached {facts.mailbox}, "
        "nobody has told yet.",
        "info",
    )


def _arrived(facts: Facts, message: Message) -> Verdict:
    if message.delivered_at:
        on = exact(message.delivered_at)
        sentence = f"{facts.who} got it: {facts.mailbox} accepted it on {on}"
    else:
        sentence = f"{facts.who} got it"
    later = ""
    if message.complained_at:
        later = f" They reported it as spam on {exact(message.complained_at)}."
    elif message.unsubscribed_at:
        later = f" They unsubscribed by it on {exact(message.unsubscribed_at)}."
    elif message.bounced_at:
        later = f" It was sent back later, on {exact(message.bounced_at)}."
    tone = "warn" if later else "ok"
    return Verdict(True, f"{sentence} through {facts.provider}.{later}", tone)


def _queued(facts: Facts, message: Message) -> Verdict:
    status = Campaign.Status(facts.campaign.status)
    if status == Campaign.Status.CANCELLED:
        return _cancelled(facts, message)
    if status == Campaign.Status.PAUSED:
        why = facts.campaign.problem or "The campaign is paused."
        return Verdict(None, f"Not yet: it is queued, and the campaign is paused. {why}", "warn")
    if facts.campaign.problem:
        return Verdict(None, f"Not yet: it is queued. {facts.campaign.problem}", "warn")
    if facts.trace.tries:
        last = facts.trace.tries[-1]
        said = _quoted(last.error)
        due = exact(message.due_at)
        return Verdict(
            None,
            f"Not yet: {last.provider or 'a provider'} could not hand it over on "
            f"{exact(last.at)}{said}. It is tried again from {due}.",
            "warn",
        )
    return Verdict(None, f"Not yet: it is queued since {exact(message.created_at)}.", "info")


def _sending(facts: Facts, message: Message) -> Verdict:
    return Verdict(None, f"It is being handed over to {facts.provider} right now.", "info")


def _failed(facts: Facts, message: Message) -> Verdict:
    on = f" on {exact(facts.trace.tries[-1].at)}" if facts.trace.tries else ""
    return Verdict(
        False,
        f"{facts.who} did not get it: it failed for good{on}{_quoted(message.error)}.",
        "bad",
    )


def _unknown(facts: Facts, message: Message) -> Verdict:
    since = exact(facts.trace.tries[-1].at if facts.trace.tries else message.created_at)
    return Verdict(
        None,
        f"In doubt since {since}: {facts.provider} may have taken it{_quoted(message.error)}. "
        "What it reports later settles it; it is not sent again by itself.",
        "warn",
    )


def _skipped(facts: Facts, message: Message) -> Verdict:
    why = _why_skipped(facts, message.error)
    is_spared = message.error == HOLDOUT or message.error.startswith("mailed ")
    when = "" if is_spared else " at the last moment"
    return Verdict(False, f"Left out{when}: {why}", "warn")


def _why_skipped(facts: Facts, obstacle: str) -> str:
    """Return in words what the claim found, with what is known of it now."""
    if obstacle == "erased":
        return "the person was deleted before the mail’s turn came."
    if obstacle == "left the list":
        return _left(facts)
    if obstacle == "held":
        return f"{facts.who} was held back: something was wrong with the address."
    if obstacle.startswith("mailed "):
        return f"{facts.who} was {obstacle} already, and the campaign spares who had so many."
    if obstacle in _WISHES:
        return f"{facts.who} {_WISHES[obstacle]}."
    if facts.suppression is not None:
        return f"{facts.who} {_closed(facts)}"
    if obstacle in _CLOSED:
        return f"{facts.who} {_CLOSED[obstacle]}."
    return "the address was suppressed when the mail’s turn came; that was lifted since."


def _left(facts: Facts) -> str:
    launched_at = facts.campaign.launched_at
    for each in _on_lists(facts):
        if each.standing == Subscription.Status.UNSUBSCRIBED and each.since and launched_at:
            after = f", {span(each.since - launched_at)} after the launch"
            when = after if each.since >= launched_at else ""
            return f"{facts.who} left the list “{each.name}” on {exact(each.since)}{when}."
    return f"{facts.who} had left a list of the campaign when the mail’s turn came."


def _cancelled(facts: Facts, message: Message) -> Verdict:
    return Verdict(False, f"{facts.who} did not get it: {_stopped(facts)}.", "warn")


def _expired(facts: Facts, message: Message) -> Verdict:
    over = f" on {exact(message.expires_at)}" if message.expires_at else ""
    return Verdict(
        False, f"{facts.who} did not get it: its time was over{over} before it was taken.", "bad"
    )


_BY_STATUS: Mapping[Message.Status, Callable[[Facts, Message], Verdict]] = MappingProxyType(
    {
        Message.Status.QUEUED: _queued,
        Message.Status.SENDING: _sending,
        Message.Status.SENT: _sent,
        Message.Status.FAILED: _failed,
        Message.Status.UNKNOWN: _unknown,
        Message.Status.SKIPPED: _skipped,
        Message.Status.CANCELLED: _cancelled,
        Message.Status.EXPIRED: _expired,
    }
)


# --- There is none -----------------------------------------------------------------------


def _not_launched(facts: Facts) -> Verdict:
    status = facts.campaign.get_status_display().lower()
    obstacle = _obstacle(facts)
    if status == "cancelled":
        return Verdict(False, f"Nobody got it: {_stopped(facts)}.", "warn")
    begin = f"Nothing was sent yet: the campaign is {'a ' if status == 'draft' else ''}{status}."
    if obstacle:
        return Verdict(
            None, f"{begin} As things stand, {facts.who} is left out: {obstacle}", "warn"
        )
    return Verdict(None, f"{begin} As things stand, {facts.who} gets it.", "info")


def _without_message(facts: Facts) -> Verdict:
    obstacle = _obstacle(facts)
    if obstacle:
        return Verdict(False, f"Left out: {obstacle}", "warn")
    if facts.audience_read_at is None:
        if facts.campaign.status == Campaign.Status.CANCELLED:
            return Verdict(False, f"{facts.who} did not get it: {_stopped(facts)}.", "warn")
        return Verdict(
            None, "Not yet: the audience is still being put together; their turn comes.", "info"
        )
    return Verdict(
        False,
        f"Left out: {facts.who} was not in the audience when it was read on "
        f"{exact(facts.audience_read_at)}. By what is known today they would be.",
        "warn",
    )


def _obstacle(facts: Facts) -> str:
    """Return what keeps them from being mailed by this campaign, as a sentence; "" for nothing."""
    belonging, person = facts.belonging, facts.person
    if person is None or belonging is None:
        also = f" It is suppressed as well: it {_closed(facts)}" if facts.suppression else ""
        return f"nobody here has this address.{also}"
    if belonging.came_late:
        return f"{facts.who} came to us on {exact(person.created_at)}, after the launch."
    if not belonging.is_wanted:
        return _unwanted(facts, belonging)
    if belonging.exclusions:
        what = belonging.exclusions[0]
        kind = "on the excluded list" if isinstance(what, OnList) else "in the excluded segment"
        return f"{facts.who} is {kind} “{what.name}”."
    if facts.suppression is not None or not person.is_mailable:
        return f"{facts.who} {_closed(facts)}"
    if belonging.is_held_out:
        return f"{facts.who} {_KEPT_OUT[HOLDOUT]}."
    return ""


def _unwanted(facts: Facts, belonging: Belonging) -> str:
    for each in belonging.lists:
        if each.standing == Subscription.Status.UNSUBSCRIBED and each.since:
            return f"{facts.who} left the list “{each.name}” on {exact(each.since)}."
        if each.standing == Subscription.Status.HELD and each.since:
            return f"{facts.who} is held back on the list “{each.name}”: look at the address."
        if each.standing == Subscription.Status.PENDING:
            return f"{facts.who} has not confirmed the list “{each.name}” yet."
        if each.standing == Subscription.Status.ACTIVE and each.since:
            return f"{facts.who} joined the list “{each.name}” on {exact(each.since)}, too late."
    places = [name for name, some in _chosen(belonging).items() if some]
    return f"{facts.who} is {' and '.join(places) or 'in no audience: nothing was chosen'}."


def _chosen(belonging: Belonging) -> dict[str, bool]:
    return {
        "on none of its lists": bool(belonging.lists),
        "in none of its segments": bool(belonging.segments),
    }


def _closed(facts: Facts) -> str:
    """Return why an address gets no mail at all: reason, since when, where it is known from."""
    row, person = facts.suppression, facts.person
    if row is not None:
        source = f" ({row.source})" if row.source else ""
        reach = "" if row.is_closing else f"; it stops {row.reach}"
        until = f" until {exact(row.expires_at)}" if row.expires_at else ""
        return f"{_CLOSED[row.reason]}, since {exact(row.created_at)}{until}{source}{reach}."
    if person is not None and person.status in _CLOSED:
        return f"{_CLOSED[person.status]}, since {exact(person.status_changed_at)}."
    return "gets no mail."


def _stopped(facts: Facts) -> str:
    when = facts.campaign.finished_at
    return f"the campaign was stopped{f' on {exact(when)}' if when else ''} before their turn came"


def _on_lists(facts: Facts) -> list[OnList]:
    return facts.belonging.lists if facts.belonging else []


def _quoted(said: str) -> str:
    """Return what somebody said, to stand before the full stop of a sentence."""
    text = said.strip().rstrip(".")
    return f": {text}" if text else ""
