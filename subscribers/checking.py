"""Is an address any good? What its spelling says, and what DNS said of its domain.

Facts are kept by domain, so a million addresses ask about each domain once. Who may wait for the
network calls `check` or `learn`; `known` and `decide` never do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from subscribers import flagging, resolving
from subscribers.flagging import Flag, Kind, Policy, Verdict
from subscribers.models import Domain, MailingList, Subscription
from subscribers.resolving import Answer, State
from subscribers.validating import InvalidAddress, clean_address

KEEP_YES = (timedelta(days=7), timedelta(days=30))
"""How long a good answer counts, at least and at most; in between as its zone says."""
KEEP_NO = (timedelta(hours=1), timedelta(days=1))
FIRST_RETRY = timedelta(minutes=5)
LONGEST_RETRY = timedelta(days=1)
"""“Not known” is asked again after five minutes, then ten, twenty …"""

_FLAGS_OF = {
    State.NULL_MX: Kind.NO_MAIL,
    State.NO_SERVER: Kind.NO_MAIL,
    State.MISSING: Kind.NO_DOMAIN,
    State.ADDRESS: Kind.NO_MX,
}


@dataclass(frozen=True, slots=True)
class Check:
    """What is known of one address."""

    email: str
    """Normalised; as it was given if it is no address."""
    verdict: Verdict
    flags: tuple[Flag, ...] = ()
    """The worst first."""
    problem: str = ""
    """Why it is no address."""
    detail: str = ""
    """What DNS said, as a sentence."""
    checked_at: datetime | None = None
    """When DNS said so."""

    @property
    def suggestion(self) -> str:
        """The address that was probably meant; "" if there is none."""
        domain = next((flag.suggestion for flag in self.flags if flag.suggestion), "")
        return f"{self.email.partition('@')[0]}@{domain}" if domain else ""


def check(raw: str, now: datetime) -> Check:
    """Return what can be found out about an address; asks DNS if nobody has of late."""
    try:
        email = clean_address(raw)
    except InvalidAddress as error:
        return Check(raw[:320], Verdict.BAD, problem=f"This is no e-mail address: {error}.")
    domain = email.partition("@")[2]
    known = Domain.objects.filter(name=domain, checked_at__isnull=False, due_at__gt=now)
    if not known.exists():
        learn([domain], now)
    return known_of([email])[email]


def known_of(emails: Collection[str]) -> dict[str, Check]:
    """Return what is known of normalised addresses, in one statement."""
    names = {email.partition("@")[2] for email in emails}
    domains = {row.name: row for row in Domain.objects.filter(name__in=names)}
    return {email: _judged(email, domains.get(email.partition("@")[2])) for email in emails}


def _judged(email: str, domain: Domain | None) -> Check:
    flags = [*flagging.flags_of(email)]
    if domain is not None:
        flags += [Flag(Kind(k), domain.detail) for k in domain.flags if k in flagging.OF_DNS]
    order = list(Kind)
    worst_first = tuple(sorted(flags, key=lambda flag: order.index(flag.kind)))
    return Check(
        email,
        _verdict(worst_first, domain),
        worst_first,
        detail=domain.detail if domain else "Nobody has asked about the domain yet.",
        checked_at=domain.checked_at if domain else None,
    )


def _verdict(flags: Collection[Flag], domain: Domain | None) -> Verdict:
    if any(flag.kind in flagging.BAD for flag in flags):
        return Verdict.BAD
    if flags:
        return Verdict.RISKY
    is_known = domain is not None and domain.state != State.UNKNOWN
    return Verdict.OK if is_known else Verdict.UNKNOWN


# --- At the door ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Decision:
    """What a list does with an address that wants on it."""

    policy: Policy
    flag: Flag | None = None
    """What it does so for."""


def decide(email: str, lists: Iterable[MailingList]) -> dict[int, Decision]:
    """Return list -> decision, by what is known now: nobody waits for DNS.

    A domain nobody has asked about is asked about soon; what is found then is held back.
    """
    Domain.objects.meet({email.partition("@")[2]})
    flags = known_of([email])[email].flags
    return {each.pk: _decision(flags, each.policies) for each in lists}


def _decision(flags: Iterable[Flag], policies: dict[str, str]) -> Decision:
    held = None
    for flag in flags:
        if policies[flag.kind] == Policy.REFUSE:
            return Decision(Policy.REFUSE, flag)
        if policies[flag.kind] == Policy.HOLD:
            held = held or flag
    return Decision(Policy.HOLD, held) if held else Decision(Policy.ACCEPT)


# --- Finding out -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Learnt:
    """What asking about some domains came to."""

    asked: int = 0
    unknown: int = 0
    held: int = 0
    """Subscriptions held back for what was found."""
    released: int = 0
    """Subscriptions let go, since it is found no more."""


def learn(names: Collection[str], now: datetime) -> Learnt:
    """Ask DNS about domains, write the answers down, and hold back or let go who is concerned.

    Waits for the network; no transaction is open then.
    """
    answers = resolving.ask_many(names)
    with transaction.atomic():
        _record(answers, now)
        holding = MailingList.objects.holding()
        held = Subscription.objects.hold_domains(names, holding, now)
        released = Subscription.objects.release_domains(names, now)
    unknown = sum(answer.state == State.UNKNOWN for answer in answers.values())
    return Learnt(len(answers), unknown, held, released)


def _record(answers: dict[str, Answer], now: datetime) -> None:
    """Write answers down. “Not known” takes nothing back that was known before."""
    known = Domain.objects.in_bulk(list(answers))
    rows = [
        _as_row(known.get(name) or Domain(name=name, state=State.UNKNOWN), answer, now)
        for name, answer in sorted(answers.items())
    ]
    Domain.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["state", "detail", "flags", "tries", "checked_at", "due_at"],
    )


def _as_row(row: Domain, answer: Answer, now: datetime) -> Domain:
    spelling = [flag.kind.value for flag in flagging.flags_of_domain(row.name)]
    if answer.state == State.UNKNOWN:
        row.due_at = now + min(FIRST_RETRY * 2 ** min(row.tries, 12), LONGEST_RETRY)
        row.tries = min(row.tries + 1, 1000)
        row.detail = row.detail if row.checked_at else answer.detail
        row.flags = [*spelling, *(kind for kind in row.flags if kind in flagging.OF_DNS)]
        return row
    kind = _FLAGS_OF.get(answer.state)
    low, high = KEEP_NO if kind in flagging.BAD else KEEP_YES
    row.state, row.detail, row.tries = answer.state, answer.detail, 0
    row.flags = [*spelling, kind.value] if kind else spelling
    row.checked_at = now
    row.due_at = now + min(max(timedelta(seconds=answer.ttl_s), low), high)
    return row
