"""Where people stand on lists, what they agreed to, by which import they came."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q

from emailplatform.formats import exact
from subscribers.conditions.kinds import Field, Loaded, Op, Ops, days_before, negation
from subscribers.models import (
    ConsentRecord,
    Import,
    MailingList,
    Segment,
    Subscriber,
    Subscription,
)
from subscribers.upserting import source_of

_GROUP = "Lists and consent"
_Action = ConsentRecord.Action
_GIVEN = (_Action.SUBSCRIBED, _Action.CONFIRMED, _Action.RETURNED)


def fields() -> dict[str, Field]:
    """Return the fields; lists and imports are read once somebody looks at them."""
    lists = Loaded(lambda: dict(MailingList.objects.values_list("pk", "name")))
    imports = Loaded(lambda: {each.pk: _import_label(each) for each in Import.objects.all()})
    vias = {value: str(label) for value, label in ConsentRecord.Via.choices}
    segments = Loaded(lambda: dict(Segment.objects.values_list("pk", "name")))
    return {
        "list": Field("List", "list", _LISTS, options=lists, group=_GROUP, known=_standing),
        "consent": Field(
            "Consent", "consent", _CONSENT, options=vias, group=_GROUP, known=_last_consent
        ),
        "import": Field("Import", "import", _IMPORTS, options=imports, group=_GROUP, known=_came),
        SEGMENT: Field("Segment", "segment", _SEGMENTS, options=segments, group=_GROUP),
    }


# --- Lists -------------------------------------------------------------------------------


def _on(status: str | None) -> Any:
    def build(_expression: Any, value: int, _now: datetime) -> Q:
        rows = Subscription.objects.filter(subscriber=OuterRef("pk"), list=value)
        return Q(Exists(rows.filter(status=status) if status else rows))

    return build


def _since(is_recent: bool) -> Any:
    def build(_expression: Any, value: list[int], now: datetime) -> Q:
        since = days_before(now, value[1])
        rows = Subscription.objects.filter(
            subscriber=OuterRef("pk"), list=value[0], status=Subscription.Status.ACTIVE
        )
        wanted = Q(changed_at__gt=since) if is_recent else Q(changed_at__lte=since)
        return Q(Exists(rows.filter(wanted)))

    return build


def _total(words: str, value: str, build: Any, sentence: str = "") -> Op:
    return Op(words, value, build, sentence, is_total=True)


_ACTIVE = _total("is", "choice", _on(Subscription.Status.ACTIVE))
_EVER = _total("was ever", "choice", _on(None), "was on list {value} at some time")
_LISTS: Ops = {
    "is": _ACTIVE,
    "is_not": negation(_ACTIVE, "is not"),
    "pending": _total(
        "waits for confirmation:",
        "choice",
        _on(Subscription.Status.PENDING),
        "has not confirmed list {value} yet",
    ),
    "held": _total(
        "is held back on", "choice", _on(Subscription.Status.HELD), "is held back on list {value}"
    ),
    "left": _total(
        "was left:", "choice", _on(Subscription.Status.UNSUBSCRIBED), "has left list {value}"
    ),
    "ever": _EVER,
    "never": negation(_EVER, "was never", "was never on list {value}"),
    "joined_in_last_days": _total(
        "was joined in the last",
        "choice_days",
        _since(True),
        "joined list {choice} in the last {days}",
    ),
    "on_for_days": _total(
        "has been joined for at least",
        "choice_days",
        _since(False),
        "has been on list {choice} for at least {days}",
    ),
}


def _standing(person: Subscriber, value: Any) -> str:
    source = value[0] if isinstance(value, list) else value
    row = Subscription.objects.filter(subscriber=person, list=source).first()
    if row is None:
        return "never on it"
    label = str(row.get_status_display()).lower()
    return f"{label} since {exact(row.changed_at)}" if isinstance(value, list) else label


# --- Consent -----------------------------------------------------------------------------


def _recorded(**wanted: Any) -> Q:
    """Return that the person's own chain has such a record."""
    return Q(Exists(ConsentRecord.objects.filter(chain=OuterRef("address_key"), **wanted)))


_CONFIRMED = _total(
    "was confirmed by the link in a mail",
    "none",
    lambda _e, _v, _now: _recorded(action=_Action.CONFIRMED),
    "confirmed by the link in a mail",
)
_CONSENT: Ops = {
    "confirmed": _CONFIRMED,
    "not_confirmed": negation(
        _CONFIRMED, "was never confirmed by a link", "never confirmed by the link in a mail"
    ),
    "confirmed_in_last_days": _total(
        "was confirmed in the last",
        "days",
        lambda _e, value, now: _recorded(action=_Action.CONFIRMED, at__gt=days_before(now, value)),
        "confirmed in the last {value}",
    ),
    "given_in_last_days": _total(
        "was given in the last",
        "days",
        lambda _e, value, now: _recorded(action__in=_GIVEN, at__gt=days_before(now, value)),
        "gave consent in the last {value}",
    ),
    "given_via": _total(
        "was given by",
        "choice",
        lambda _e, value, _now: _recorded(action__in=_GIVEN, via=value),
        "gave consent by {value}",
    ),
}


def _last_consent(person: Subscriber, _value: Any) -> str | None:
    rows = ConsentRecord.objects.filter(chain=person.address_key, action__in=_GIVEN)
    row = rows.order_by("-number").first()
    if row is None:
        return None
    action = str(row.get_action_display()).lower()
    return f"{action} by {row.get_via_display()}, {exact(row.at)}"


# --- Imports -----------------------------------------------------------------------------


def _import_label(each: Import) -> str:
    return f"{each.filename} ({each.created_at:%Y-%m-%d})"


def _source(value: int) -> str:
    """Return how people and subscriptions name an import that brought them; "" for none."""
    found = Import.objects.filter(pk=value).first()
    return source_of(found) if found else ""


def _came_with(_expression: Any, value: int, _now: datetime) -> Q:
    return Q(source=_source(value))


def _put_on_by(_expression: Any, value: int, _now: datetime) -> Q:
    rows = Subscription.objects.filter(subscriber=OuterRef("pk"), source=_source(value))
    return Q(Exists(rows))


_NEW = _total("brought them:", "choice", _came_with, "came with import {value}")
_PUT = _total("put them on a list:", "choice", _put_on_by, "was put on a list by import {value}")
_IMPORTS: Ops = {
    "brought": _NEW,
    "not_brought": negation(_NEW, "did not bring them:", "did not come with import {value}"),
    "listed": _PUT,
    "not_listed": negation(_PUT, "put them on no list:", "was not put on a list by import {value}"),
}


def _came(person: Subscriber, value: int) -> str:
    rows = Subscription.objects.filter(subscriber=person, source=_source(value))
    names = ", ".join(rows.values_list("list__name", flat=True))
    return f"{person.source or 'no source'}{f'; put on {names}' if names else ''}"


# --- Segments ----------------------------------------------------------------------------

SEGMENT = "segment"


def _replaced(_expression: Any, _value: int, _now: datetime) -> Q:
    raise LookupError("A segment in rules is replaced by its own rules before they become SQL.")


_SEGMENTS: Ops = {
    "is": Op("is", "choice", _replaced, "is in segment {value}"),
    "is_not": Op("is not", "choice", _replaced, "is not in segment {value}"),
}
