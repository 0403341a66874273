"""What is known of people: every field a condition may name."""

from __future__ import annotations

from typing import Any

from django.db.models import Case, CharField, DecimalField, F, Q, Value, When
from django.db.models.expressions import Combinable
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Coalesce
from django.db.models.lookups import Regex

from subscribers.conditions.kinds import Field, Fields
from subscribers.mailboxes import Mailbox
from subscribers.models import Attribute, MailingList, Subscriber

NUMBER = "^-?[0-9]{1,30}([.][0-9]{1,40})?$"
DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
"""What PostgreSQL can take for one. Its own digit class has every script's where ICU sorts."""


def fields() -> Fields:
    """Return every field there is now, by the name conditions use, attributes last."""
    own = {
        f"attributes.{each.name}": Field(each.label, each.type, _attribute(each))
        for each in Attribute.objects.all()
    }
    return {**_plain_fields(), **own}


def _plain_fields() -> dict[str, Field]:
    lists = dict(MailingList.objects.values_list("pk", "name"))
    statuses = {value: str(label) for value, label in Subscriber.Status.choices}
    mailboxes = {value: str(label) for value, label in Mailbox.choices}
    texts = {
        name: Field(label, "text", F(name))
        for name, label in {
            "language": "Language",
            "country": "Country",
            "time_zone": "Time zone",
            "first_name": "First name",
            "last_name": "Last name",
            "source": "Source",
        }.items()
    }
    return {
        "list": Field("List", "list", F("pk"), lists),
        "email": Field("E-mail", "email", F("email")),
        **texts,
        "tag": Field("Tags", "tags", F("tags")),
        "status": Field("Status", "choice", F("status"), statuses),
        "mailbox": Field("Mailbox provider", "choice", F("mailbox"), mailboxes),
        "created": Field("Added", "time", F("created_at")),
    }


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
