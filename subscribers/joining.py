"""Signing up on a form: who comes is a stranger, and learns nothing of whom we know.

Whatever the address, the answer is the same. Nobody's standing changes by somebody else's typing:
who left a list, or is known without it, is asked in their mailbox.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import translation
from django.utils.translation import gettext

from emailplatform.secrets import address_key
from subscribers import attributing, checking, confirming
from subscribers.consents import Proof
from subscribers.flagging import Policy
from subscribers.mailboxes import mailbox_of
from subscribers.models import (
    ConsentRecord,
    ConsentText,
    MailingList,
    SignupDay,
    SignupForm,
    Subscriber,
    Subscription,
    Suppression,
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody typed, checked: a clean address, lists of the form, facts about themselves."""

    email: str
    lists: Collection[MailingList]
    language: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Fields of Subscriber, and "attributes". Taken from new people only."""


def texts_of(form: SignupForm, language: str) -> dict[str, str]:
    """Return what a form says in a language: its own texts, and ours where it has none."""
    own = form.texts.get(language) or form.texts.get(form.language) or {}
    with translation.override(language):
        lists = ", ".join(form.lists.values_list("name", flat=True))
        ours = {
            "title": form.name,
            "intro": "",
            "button": gettext("Sign up"),
            "consent": gettext(
                "I want to get e-mail from: %(lists)s. "
                "I can leave at any time with the link in every mail."
            )
            % {"lists": lists},
            "thanks": "",
        }
    return {**ours, **{name: text for name, text in own.items() if text}}


def consent_text(form: SignupForm, language: str) -> str:
    """Return the digest of what a form says people agree to, kept as a version."""
    said = texts_of(form, language)["consent"]
    return ConsentText.objects.keep(f"form {form.slug}", language, said)


@transaction.atomic
def sign_up(form: SignupForm, wish: Wish, now: datetime, proof: Proof) -> None:
    """Take a wish: put new people on the lists, or ask in their mailbox first."""
    SignupDay.objects.add(form.pk, now, "asked")
    if _is_closed(wish.email):
        return
    person, is_new = _person(form, wish)
    standings = dict(person.subscriptions.values_list("list", "status"))
    # A stranger's typing puts nobody on a list whom we know already: they are asked by mail.
    is_free = is_new and person.status == Subscriber.Status.ACTIVE
    at_once = [each.pk for each in wish.lists if is_free and not each.double_opt_in]
    if at_once:
        source = f"form: {form.name}"[:100]
        joined = Subscription.objects.join(person.pk, at_once, now, source)
        who, action = (bytes(person.address_key), person.pk), ConsentRecord.Action.SUBSCRIBED
        ConsentRecord.objects.write(action, who, joined, now, proof, f"form “{form.name}”")
        _hold(wish, at_once, source, now)
    asked = [each.pk for each in wish.lists if each.pk not in at_once]
    if asked:
        # Who is on all of them is asked as well: they wait for a mail like everybody.
        active = Subscription.Status.ACTIVE
        new = [each for each in asked if standings.get(each) != active]
        confirming.ask(person, new or asked, now, proof, form)


def is_refused(wish: Wish) -> bool:
    """Does a list of the wish want no address like this?"""
    decisions = checking.decide(wish.email, wish.lists)
    return any(each.policy == Policy.REFUSE for each in decisions.values())


def _hold(wish: Wish, joined: Collection[int], source: str, now: datetime) -> None:
    """Hold back on lists that want the address looked at first."""
    for pk, decision in checking.decide(wish.email, wish.lists).items():
        if pk in joined and decision.policy == Policy.HOLD and decision.flag:
            held = {wish.email: decision.flag.kind.value}
            Subscription.objects.hold_addresses(held, pk, source, now)


def _is_closed(email: str) -> bool:
    """Does an address get no mail, whatever its owner might want now?"""
    rows = Suppression.objects.closing().filter(address_key=address_key(email))
    return rows.exclude(reason=Suppression.Reason.UNSUBSCRIBED).exists()


def _person(form: SignupForm, wish: Wish) -> tuple[Subscriber, bool]:
    """Return the person, locked, and whether we did not know them.

    Who is new and must confirm everything waits as a whole.
    """
    waits = all(each.double_opt_in for each in wish.lists)
    status = Subscriber.Status
    said_no = Suppression.objects.closing().filter(address_key=address_key(wish.email)).exists()
    facts = dict(wish.facts)
    attributes = attributing.merged({}, attributing.checked(facts.pop("attributes", {})))
    usual = status.PENDING if waits else status.ACTIVE
    return Subscriber.objects.select_for_update().get_or_create(
        email=wish.email,
        defaults={
            **facts,
            "address_key": address_key(wish.email),
            "mailbox": mailbox_of(wish.email),
            "status": status.UNSUBSCRIBED if said_no else usual,
            "language": wish.language,
            "attributes": attributes,
            "source": f"form: {form.name}"[:100],
        },
    )
