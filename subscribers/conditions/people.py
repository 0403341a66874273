"""What is known of people by themselves: columns, attributes, tags, flags of their address."""

from __future__ import annotations

from typing import Any

from django.db.models import Case, CharField, DecimalField, Exists, F, OuterRef, Q, Value, When
from django.db.models.expressions import Combinable
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Coalesce
from django.db.models.lookups import Regex

from subscribers import flagging
from subscribers.conditions import kinds
from subscribers.conditions.kinds import Field, Known, Op, negation
from subscribers.mailboxes import Mailbox
from subscribers.models import Attribute, Subscriber
from subscribers.querysets import SubscriberQuerySet

NUMBER = "^-?[0-9]{1,30}([.][0-9]{1,40})?$"
DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
"""What PostgreSQL can take for one. Its own digit class has every script's where ICU sorts."""


def own_fields() -> dict[str, Field]:
    """Return what every person has."""
    statuses = {value: str(label) for value, label in Subscriber.Status.choices}
    mailboxes = {value: str(label) for value, label in Mailbox.choices}
    texts = {
        "language": "Language",
        "country": "Country",
        "time_zone": "Time zone",
        "first_name": "First name",
        "last_name": "Last name",
        "source": "Source",
    }
    return {
        "email": Field("E-mail", "email", kinds.EMAIL, F("email"), known=_column("email")),
        **{
            name: Field(label, "text", kinds.TEXT, F(name), known=_column(name))
            for name, label in texts.items()
        },
        "tag": Field("Tags", "tags", _TAGS, known=_column("tags")),
        "status": _choice("Status", "status", statuses),
        "mailbox": _choice("Mailbox provider", "mailbox", mailboxes),
        "flag": Field(
            "Address", "flags", _FLAGS, options=dict(flagging.Kind.choices), known=_is_flagged
        ),
        "created": Field(
            "Added", "time", kinds.MOMENT, F("created_at"), known=_column("created_at")
        ),
    }


def attributes() -> dict[str, Field]:
    """Return a field per registered attribute."""
    return {
        f"attributes.{each.name}": Field(
            each.label,
            each.type,
            _OPS[Attribute.Type(each.type)],
            _attribute(each),
            group="Own fields",
            known=_stored(each.name),
        )
        for each in Attribute.objects.all()
    }


_OPS = {
    Attribute.Type.TEXT: kinds.TEXT,
    Attribute.Type.NUMBER: kinds.NUMBER,
    Attribute.Type.DATE: kinds.DATE,
    Attribute.Type.BOOLEAN: kinds.BOOLEAN,
}


def _choice(label: str, name: str, options: dict[str, str]) -> Field:
    def known(person: Subscriber, _value: Any) -> str:
        value: str = getattr(person, name)
        return options.get(value, value)

    return Field(label, "choice", kinds.CHOICE, F(name), options, known=known)


def _column(name: str) -> Known:
    return lambda person, _value: getattr(person, name)


def _stored(name: str) -> Known:
    return lambda person, _value: person.attributes.get(name)


def _attribute(attribute: Attribute) -> Combinable:
    """Return the attribute as SQL of its type: NULL (text: "") where a person has none such."""
    text = KeyTextTransform(attribute.name, "attributes")
    if attribute.type == Attribute.Type.NUMBER:
        cast = Cast(text, DecimalField(max_digits=60, decimal_places=20))
        return _only_if(NUMBER, text, cast)
    if attribute.type == Attribute.Type.DATE:
        return _only_if(DATE, text, Cast(text, CharField()))
    return Coalesce(text, Value(""), output_field=CharField())


def _only_if(pattern: str, text: Any, cast: Cast) -> Case:
    # CASE, because PostgreSQL may otherwise cast first and fail on “n/a”.
    return Case(When(Q(Regex(text, pattern)), then=cast), default=None)


def _overlap(value: list[str]) -> Q:
    return Q(tags__overlap=value) & ~Q(tags=[])  # the second for its index


_HAS_TAG = Op("include", "tag", lambda _e, value, _now: _overlap([value]), is_total=True)
_HAS_ONE = Op("include one of", "tags", lambda _e, value, _now: _overlap(value), is_total=True)
_TAGS = {
    "has": _HAS_TAG,
    "has_not": negation(_HAS_TAG, "do not include"),
    "has_one_of": _HAS_ONE,
    "has_none_of": negation(_HAS_ONE, "include none of"),
}


def _flagged(kind: str) -> SubscriberQuerySet:
    return Subscriber.objects.flagged([kind])


_FLAGGED = Op(
    "is flagged",
    "choice",
    lambda _e, value, _now: Q(Exists(_flagged(value).filter(pk=OuterRef("pk")))),
    "address is flagged “{value}”",
    is_total=True,
)
_FLAGS = {
    "is": _FLAGGED,
    "is_not": negation(_FLAGGED, "is not flagged", "address is not flagged “{value}”"),
}


def _is_flagged(person: Subscriber, value: str) -> str:
    return "flagged" if _flagged(value).filter(pk=person.pk).exists() else "not flagged"
