"""What lists of people can be narrowed to."""

from __future__ import annotations

from typing import Any

from django.conf.locale import LANG_INFO
from django.contrib.admin import SimpleListFilter
from django.db.models import Q
from django.http import HttpRequest

from emailplatform.errors import InvalidInput
from subscribers import segmenting
from subscribers.flagging import Kind
from subscribers.models import Engagement, MailingList, Segment, Subscriber

MOST_LISTS = 200
"""Lists offered in the filter; more would be no choice any more."""
_LANGUAGE_WORDS = "ar cs da de el en es fi fr hu it ja ko nb nl pl pt ro ru sv tr uk"
LANGUAGES = {code: LANG_INFO[code]["name"] for code in _LANGUAGE_WORDS.split()} | {"zh": "Chinese"}
"""Offered as choices; others can be asked for in the address of the page."""


class StatusFilter(SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return Subscriber.Status.choices

    def queryset(self, request: HttpRequest, people: Any) -> Any:
        return people.filter(status=self.value()) if self.value() else people


class ListFilter(SimpleListFilter):
    """Subscribed to a list, or waiting, or gone from it: `?list=3`, `?list=3-pending`."""

    title = "list"
    parameter_name = "list"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(row.pk), row.name) for row in MailingList.objects.all()[:MOST_LISTS]]

    def queryset(self, request: HttpRequest, people: Any) -> Any:
        pk, _, status = (self.value() or "").partition("-")
        if not pk.isdecimal():
            return people
        if not status:
            return people.on_lists([int(pk)])
        return people.filter(subscriptions__list=int(pk), subscriptions__status=status)


class SegmentFilter(SimpleListFilter):
    title = "segment"
    parameter_name = "segment"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(row.pk), row.name) for row in Segment.objects.all()[:MOST_LISTS]]

    def queryset(self, request: HttpRequest, people: Any) -> Any:
        """Rules that cannot be used any more describe nobody."""
        key = self.value() or ""
        segment = Segment.objects.filter(pk=int(key)).first() if key.isdecimal() else None
        if segment is None:
            return people
        try:
            return people.filter(pk__in=segmenting.people(segment.rules).values("pk"))
        except InvalidInput:
            return people.none()


class StageFilter(SimpleListFilter):
    title = "stage"
    parameter_name = "stage"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return Engagement.Stage.choices

    def queryset(self, request: HttpRequest, people: Any) -> Any:
        is_one = self.value() in Engagement.Stage.values
        return people.filter(engagement__stage=self.value()) if is_one else people


class LanguageFilter(SimpleListFilter):
    title = "language"
    parameter_name = "language"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        named = [*LANGUAGES.items(), ("-", "Not known")]
        return sorted(named, key=lambda choice: choice[1])

    def queryset(self, request: HttpRequest, people: Any) -> Any:
        code = self.value()
        if not code:
            return people
        if code == "-":
            return people.filter(language="")
        return people.filter(Q(language=code) | Q(language__startswith=f"{code}-"))


class AddressFilter(SimpleListFilter):
    """By what is wrong with the address: `?address=typo`, `?address=unknown`."""

    title = "address"
    parameter_name = "address"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        kinds = [(kind.value, str(kind.label)) for kind in Kind]
        return [("any", "Anything is wrong"), *kinds, ("unknown", "Domain not known")]

    def queryset(self, request: HttpRequest, people: Any) -> Any:
        kind = self.value()
        if kind == "unknown":
            return people.of_unknown_domains()
        if kind == "any":
            return people.flagged(Kind.values)
        return people.flagged([kind]) if kind in Kind else people
