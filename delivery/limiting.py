"""How much may be sent now: per provider account, lane, sender, recipient, and altogether.

Windows (second, hour) are taken before messages are claimed, daily quotas in the claim itself.
What was taken and not used is given back. Without limits all of this costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings
from limits import RateLimitItem, RateLimitItemPerSecond, parse

from delivery import throttling
from delivery.attending import here
from delivery.lanes import Lane
from delivery.metering import meter
from delivery.models import DailyCount, Handoff, LaneState, Message, ProviderAccount
from delivery.providers.base import Batch
from delivery.querysets import Quota
from delivery.windows import Taken, Window
from emailplatform.secrets import address_key

LOOK_AGAIN_S = 1.0
"""A full limit is looked at again after so long: others give back what they did not use."""
SHORTEST_S = 0.01
FRESH_S = 1.0
"""How long what was left of a limit is worth knowing."""
LATER = timedelta(seconds=60)
"""Who waits longer than this for a limit is told so."""


class Full(Exception):
    """There is no room now. `str()` is a sentence that says what is full and until when."""

    def __init__(self, words: str, until: float, account: int | None = None) -> None:
        super().__init__(words)
        self.until = until
        """By time.monotonic()."""
        self.account = account
        """The account that is full; None: it is full whatever account is taken."""

    @property
    def is_long(self) -> bool:
        return self.until - time.monotonic() > LATER.total_seconds()


@dataclass(slots=True)
class Grant:
    """What one call may carry."""

    account: ProviderAccount
    count: int
    taken: Taken
    moment: float
    """When, by time.monotonic()."""
    quota: Quota | None = None

    @property
    def is_counted(self) -> bool:
        return bool(self.taken.windows) or self.quota is not None

    def give_back(self, count: int) -> None:
        """Make room again for messages that were not handed over."""
        count = min(count, self.taken.count)
        meter.give_back(self.taken, count)
        for window in self.taken.windows:
            share, seen_at = _left.get(window.key, (0.0, 0.0))
            _left[window.key] = (min(1.0, share + count / window.amount), seen_at)

    def renew(self) -> None:
        """Let it count from now on if it was taken a while ago: the call begins only now."""
        age_ms = (time.monotonic() - self.moment) * 1000
        if any(window.width_ms < age_ms for window in self.taken.windows):
            meter.renew(self.taken)


# --- Which limits there are --------------------------------------------------------------


@lru_cache(maxsize=1024)
def rate_of(text: str) -> RateLimitItem:
    """Return the rate that says “20/hour”: per sec, min, hour or day."""
    amount, _, unit = text.partition("/")
    return parse(f"{amount}/{ {'sec': 'second', 'min': 'minute'}.get(unit, unit) }")


@lru_cache(maxsize=1024)
def rate_per_minute(count: int) -> RateLimitItem:
    """Return a rate of so many per minute that comes in small steps.

    >>> rate_per_minute(1200), rate_per_minute(90), rate_per_minute(6)
    (20 per 1 second, 15 per 10 second, 1 per 10 second)
    """
    if count >= 600:
        return RateLimitItemPerSecond(count // 60, 1)
    if count >= 60:
        return RateLimitItemPerSecond(count // 6, 10)
    return RateLimitItemPerSecond(1, -(-60 // max(1, count)))


def windows_of(
    account: ProviderAccount, lane: Lane, now: datetime, sender: str = ""
) -> list[Window]:
    """Return every window that a call of this account in this lane counts in."""
    found = [*_of_account(account), *_of_lane(account, lane, now)]
    if settings.GLOBAL_RATE:
        words = f"all providers together may take {_said(settings.GLOBAL_RATE)}"
        found.append(Window("all", rate_of(settings.GLOBAL_RATE), words, {}))
    if sender:
        found += _of_sender(sender)
    return found


def lane_limit(account: ProviderAccount, stream: str, mailbox: str) -> str:
    """Return the limit that the account has for a lane, as “20/sec”; empty: none."""
    limits: Mapping[str, str] = account.lane_limits
    return limits.get(f"{stream} {mailbox}") or limits.get(mailbox) or ""


def account_windows(account: ProviderAccount) -> list[Window]:
    """Return the windows that all mail of an account counts in."""
    return list(_of_account(account))


def _of_account(account: ProviderAccount) -> Iterable[Window]:
    scope = {"provider_id": account.pk}
    for unit, amount in (("sec", account.limit_per_second), ("hour", account.limit_per_hour)):
        if amount:
            text = f"{amount}/{unit}"
            words = f"{account.name} may take {_said(text)}"
            yield Window(f"account:{account.pk}:{unit}", rate_of(text), words, scope)


def _of_lane(account: ProviderAccount, lane: Lane, now: datetime) -> Iterable[Window]:
    limit = lane_limit(account, lane.stream, lane.mailbox)
    state = throttling.state_of(account.pk, lane.stream, lane.mailbox, now)
    name = f"{account.pk}:{lane.stream}:{lane.mailbox}"
    scope = {"provider_id": account.pk, "stream": lane.stream, "mailbox": lane.mailbox}
    if limit:
        words = f"{account.name} may take {_said(limit)} for {lane.mailbox}"
        yield Window(f"lane:{name}:{limit}", rate_of(limit), words, scope)
    slowed = state.rate_at(now) if state else None
    if state and slowed is not None:
        rate = rate_per_minute(slowed)
        words = f"{account.name} is slowed to {slowed} a minute for {lane.mailbox}: {state.reason}"
        yield Window(f"slow:{name}:{rate.get_expiry()}", rate, words, scope)


def _of_sender(sender: str) -> Iterable[Window]:
    domain = sender.rpartition("@")[2].lower()
    if settings.SENDER_RATE:
        words = f"mail from {sender} is limited to {_said(settings.SENDER_RATE)} (SENDER_RATE)"
        yield Window(f"from:{_key(sender)}", rate_of(settings.SENDER_RATE), words)
    if settings.SENDER_DOMAIN_RATE:
        said = f"{_said(settings.SENDER_DOMAIN_RATE)} (SENDER_DOMAIN_RATE)"
        words = f"mail from {domain} is limited to {said}"
        yield Window(f"domain:{domain}", rate_of(settings.SENDER_DOMAIN_RATE), words)


def _of_recipients(batch: Batch) -> Iterable[Window]:
    if not settings.RECIPIENT_RATE:
        return
    people = [email for one in batch.recipients for email in (one.email, *_copied(one))]
    for email in dict.fromkeys(people):
        words = f"mail to {email} is limited to {_said(settings.RECIPIENT_RATE)} (RECIPIENT_RATE)"
        yield Window(f"to:{_key(email)}", rate_of(settings.RECIPIENT_RATE), words)


def _copied(recipient: Any) -> list[str]:
    return [each.email for each in recipient.copies]


def _key(email: str) -> str:
    """Return a name that gives no address away."""
    return address_key(email.lower()).hex()[:32]


def in_words(rate: RateLimitItem) -> str:
    """Return a rate as people say it.

    >>> in_words(rate_of("1200/sec")), in_words(rate_of("20/hour"))
    ('1,200 a second', '20 an hour')
    """
    name = rate.GRANULARITY.name
    return f"{rate.amount:,} {'an' if name == 'hour' else 'a'} {name}"


def _said(rate: str) -> str:
    return in_words(rate_of(rate))


# --- Taking and giving back --------------------------------------------------------------

_full: dict[str, tuple[float, float, str]] = {}
"""Key of a limit -> until when it is not looked at again, until when it is expected to have no
room (both time.monotonic()), and the sentence about it."""
_left: dict[str, tuple[float, float]] = {}
"""Key of a limit -> which share of it was left, and when that was seen."""


def free_share(account: ProviderAccount, lane: Lane, now: datetime) -> float:
    """Return which share of its tightest limit an account has left for a lane: 0.0 … 1.0.

    As this process saw it last, so it costs no round trip. 0.0: it is known to have no room now.
    """
    if _why_full(account, lane, now):
        return 0.0
    moment = time.monotonic()
    shares = [1.0]
    for key in [*(each.key for each in windows_of(account, lane, now)), _day_key(account)]:
        share, seen_at = _left.get(key, (1.0, moment))
        if moment - seen_at < FRESH_S:
            shares.append(share)
    return max(0.01, min(shares))


def check(accounts: Sequence[ProviderAccount], lane: Lane, now: datetime) -> None:
    """Raise Full if every one of these accounts is known to have no room for a lane now."""
    reasons = [_why_full(account, lane, now) for account in accounts]
    known = [reason for reason in reasons if reason]
    if known and len(known) == len(reasons):
        raise min(known, key=lambda full: full.until)


def take(account: ProviderAccount, lane: Lane, want: int, now: datetime, sender: str = "") -> Grant:
    """Take room for up to `want` messages, one Redis round trip. Raises Full if there is none."""
    if full := _why_full(account, lane, now):
        raise full
    windows = windows_of(account, lane, now, sender)
    quota = quota_of(account)
    if not windows:
        return Grant(account, want, Taken(want), time.monotonic(), quota)
    taken = meter.take(windows, want)
    _remember(taken)
    if not taken.count:
        raise _full_now(account, taken)
    return Grant(account, taken.count, taken, time.monotonic(), quota)


def admit(batch: Batch, now: datetime) -> Full | None:
    """Count a mail sent by API for its sender and recipients; return why it has to wait."""
    windows = [*_of_recipients(batch), *_of_sender(batch.from_email)]
    if not windows:
        return None
    taken = meter.take(windows, 1)
    if taken.count:
        return None
    wait_s = max(1.0, taken.wait_s)
    words = taken.tight.words if taken.tight else "a limit is reached"
    return Full(_sentence(words, now + timedelta(seconds=wait_s)), time.monotonic() + wait_s)


def settle(grant: Grant, handoff: Handoff, people: Sequence[int]) -> None:
    """Give back what a finished hand-off did not use: only what was certainly not accepted.

    `people` are the messages that were claimed. One query, and more only if something is over.
    """
    if not grant.is_counted:
        return
    done = Handoff.objects.filter(pk=handoff.pk, status=Handoff.Status.DONE, accepted=grant.count)
    if done.exists():
        return
    claimed = Message.objects.filter(pk__in=people)
    used = set(claimed.filter(provider=grant.account).may_have_left().values_list("pk", flat=True))
    grant.give_back(grant.count - len(used))
    if grant.quota is not None and len(people) > len(used):
        # A worker that slept for too long: the sweeper has given the quota back.
        swept = claimed.swept(handoff.pk).values_list("pk", flat=True)
        grant.quota.give_back(len(set(people) - used - set(swept)))


def quota_of(account: ProviderAccount) -> Quota | None:
    """Return what the claim counts an account's quota with; None: it has none."""
    if not account.limit_per_day:
        return None
    return Quota(DailyCount.objects.all(), account.pk, account.limit_per_day)


def quota_used(grant: Grant, now: datetime) -> Full:
    """Remember that an account has used its quota; return that as the reason to wait."""
    grant.give_back(grant.count)
    account = grant.account
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    midnight += timedelta(days=1)
    quota = f"{account.limit_per_day:,}" if account.limit_per_day else "0"
    words = f"{account.name} has used up its {quota} of today; it goes on at 00:00 UTC."
    until = time.monotonic() + (midnight - now).total_seconds()
    _close(_day_key(account), until, words)
    return Full(words, until, account.pk)


def quota_seen(grant: Grant) -> None:
    """Remember what a claim saw of an account's quota."""
    if grant.quota is not None and grant.quota.rest is not None:
        share = grant.quota.rest / grant.quota.most
        _left[_day_key(grant.account)] = (share, time.monotonic())


def slow(
    account: ProviderAccount,
    stream: str,
    mailbox: str,
    reason: str,
    now: datetime,
    retry_after: timedelta | None = None,
) -> None:
    """Halve a lane's rate: its mailbox provider, or the provider, found us too fast."""
    per_minute = [
        window.amount * 60 // window.seconds
        for window in windows_of(account, Lane(stream, mailbox), now)
        if window.key.startswith("lane:")
    ]
    throttling.slow(
        account,
        (stream, mailbox),
        reason,
        now,
        retry_after=retry_after,
        limit_per_minute=min(per_minute) if per_minute else None,
    )


def report(streams: Sequence[str]) -> None:
    """Say that this process sends these streams, and whether it counts with the others."""
    here.beat(streams, has_redis=meter.has_redis())


def forget() -> None:
    """Forget what was seen: limits were changed, or a test begins."""
    _full.clear()
    _left.clear()
    throttling.forget()


def _why_full(account: ProviderAccount, lane: Lane, now: datetime) -> Full | None:
    """Return why an account is known to have no room; None: it may have some."""
    state = throttling.state_of(account.pk, lane.stream, lane.mailbox, now)
    if state is not None and throttling.is_held(state, now):
        return _held(account, state, now)
    if not _full:
        return None
    moment = time.monotonic()
    keys = [each.key for each in windows_of(account, lane, now)]
    if account.limit_per_day:
        keys.append(_day_key(account))
    for key in keys:
        closed_until, until, words = _full.get(key, (0.0, 0.0, ""))
        if closed_until > moment:
            return Full(words, until, None if key == "all" else account.pk)
    return None


def _held(account: ProviderAccount, state: LaneState, now: datetime) -> Full:
    assert state.held_until is not None  # noqa: S101  for the type: it is held
    until = time.monotonic() + (state.held_until - now).total_seconds()
    words = f"{account.name} asked to be left alone with {state.mailbox} ({state.reason})"
    return Full(_sentence(words, state.held_until), until, account.pk)


def _full_now(account: ProviderAccount, taken: Taken) -> Full:
    wait_s = max(SHORTEST_S, taken.wait_s)
    until = time.monotonic() + wait_s
    tight = taken.tight
    words = tight.words if tight else "a limit is reached"
    sentence = _sentence(words, datetime.now(UTC) + timedelta(seconds=wait_s))
    if tight is None or tight.scope is None:
        return Full(sentence, until)
    _close(tight.key, until, sentence)
    return Full(sentence, until, account.pk if tight.scope else None)


def _close(key: str, until: float, words: str) -> None:
    """Do not look at a full limit for a moment."""
    _full[key] = (min(until, time.monotonic() + LOOK_AGAIN_S), until, words)


def _remember(taken: Taken) -> None:
    moment = time.monotonic()
    for window, room in zip(taken.windows, taken.rooms, strict=False):
        if window.scope is not None:
            _left[window.key] = (max(0, room - taken.count) / window.amount, moment)


def _sentence(words: str, until: datetime) -> str:
    return f"{words[:1].upper()}{words[1:]}; it goes on at {until.astimezone(UTC):%H:%M:%S} UTC."


def _day_key(account: ProviderAccount) -> str:
    return f"day:{account.pk}"
