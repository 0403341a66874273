"""Routing rules: the list in its order, the form of one, and which rule is for an address."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from delivery import ruling, tasks
from delivery.models import ProviderAccount, RoutingRule, Stream, Tier
from delivery.models.rules import is_pattern
from emailplatform.admin import Empty, ModelAdmin
from emailplatform.celery import nudge
from subscribers.models import Subscriber
from subscribers.validating import InvalidAddress, clean_address

CHOICES = ("first", "second", "third", "fourth")
CALLED = ("First choice", "Then", "Then", "Then")
EMPTY = {"stream": "All mail", "mailbox": "Any mailbox provider", "tier": "Everybody"}
"""What a choice says that narrows nothing."""


class RuleForm(forms.ModelForm):
    """A rule as people say it: for whom, through whom, in which order."""

    domains = forms.CharField(
        label="Recipient domains",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false"}),
        help_text="One per line: gmail.com, or *.gov for all below gov. With a mailbox provider "
        "below, either is enough. Without both, the rule is for everybody.",
    )

    class Meta:
        model = RoutingRule
        fields = ["name", "is_active", "stream", "domains", "mailbox", "tier", "is_strict"]
        help_texts = {
            "tier": "Engaged: opened or clicked in the last 90 days (ENGAGED_DAYS). New: known for "
            "less than 30 days.",
            "is_strict": "On: mail waits until one of these can take it. Off: these first, and "
            "another one if none of them can.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, words in EMPTY.items():
            field: Any = self.fields[name]
            field.choices = [("", words), *[each for each in field.choices if each[0]]]
        accounts = ProviderAccount.objects.defer("secrets")
        chosen = [*self.instance.providers, *[None] * len(CHOICES)]
        for name, label, pk in zip(CHOICES, CALLED, chosen, strict=False):
            self.fields[name] = forms.ModelChoiceField(
                accounts,
                label=label,
                required=name == "first",
                initial=pk,
                empty_label="Choose a provider" if name == "first" else "Nobody else",
                widget=UnfoldAdminSelectWidget,
            )
        self.initial["domains"] = "\n".join(self.instance.domains)

    def clean_domains(self) -> list[str]:
        words = self.cleaned_data["domains"].lower().replace(",", " ").split()
        for word in words:
            is_pattern(word)
        return list(dict.fromkeys(words))

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        chosen: list[ProviderAccount] = []
        for name in CHOICES:
            account = data.get(name)
            if account in chosen:
                self.add_error(name, f"{account} is chosen above already.")
            elif account:
                chosen.append(account)
        if data.get("stream"):
            for account in chosen:
                if data["stream"] not in account.streams:
                    words = f"{account} does not carry {data['stream']} mail."
                    self.add_error("stream", words)
        self.instance.providers = [account.pk for account in chosen]
        return data


@dataclass(frozen=True, slots=True)
class Row:
    """A rule in the list: for whom and through whom, in words."""

    rule: RoutingRule
    people: str
    way: str


@admin.register(RoutingRule)
class RuleAdmin(ModelAdmin):
    form = RuleForm
    add_label = "Add rule"
    actions = None
    intro = (
        "Who is to carry whose mail. The first rule that matches counts; without one, the best "
        "score decides. A change also moves what is queued, within half a minute."
    )
    empty = Empty(
        "alt_route",
        "No rules: the best score decides",
        "A rule sends some people’s mail through providers of your choice, such as Gmail through "
        "the account that Gmail trusts most, or people who never open anything through another "
        "than your best.",
        "Add rule",
        "admin:delivery_routingrule_add",
    )

    class Media:
        css = {"all": ["ui/mail.css"]}

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [
            (None, {"fields": ["name", "is_active"]}),
            ("For whom", {"fields": ["stream", "domains", "mailbox", "tier"]}),
            ("Through whom", {"fields": [*CHOICES, "is_strict"]}),
        ]

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """The choices of providers are no fields of the model."""
        kwargs["fields"] = RuleForm.Meta.fields
        return super().get_form(request, obj, **kwargs)

    def own_urls(self) -> list[URLPattern]:
        return [
            self.deed("<int:pk>/up/", self.up, "up"),
            self.deed("<int:pk>/down/", self.down, "down"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        names = dict(ProviderAccount.objects.values_list("pk", "name"))
        return self.render(
            request,
            "admin/delivery/rules.html",
            "Routing rules",
            intro=self.intro,
            empty=self.empty,
            rows=[Row(each, people_of(each), way_of(each, names)) for each in self._rules()],
            has_add_permission=self.has_add_permission(request),
            buttons=self.list_buttons(request),
            streams=Stream.choices,
            asked=request.GET,
            answer=answer_to(request.GET, timezone.now(), names),
        )

    def _rules(self) -> list[RoutingRule]:
        return list(RoutingRule.objects.all())

    def up(self, request: HttpRequest, rule: RoutingRule) -> Any:
        return self._move(request, rule, -1)

    def down(self, request: HttpRequest, rule: RoutingRule) -> Any:
        return self._move(request, rule, 1)

    def _move(self, request: HttpRequest, rule: RoutingRule, by: int) -> Any:
        ruling.move(rule, by)
        nudge(tasks.stamp_queued)
        self.done(request, rule, f"{rule} is moved {'up' if by < 0 else 'down'}.")
        return self.back(request)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        nudge(tasks.stamp_queued)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        super().delete_model(request, obj)
        nudge(tasks.stamp_queued)


def people_of(rule: RoutingRule) -> str:
    """Return in words for whom a rule is."""
    mail = f"{rule.get_stream_display()} mail" if rule.stream else "All mail"
    places = [*rule.domains, *([rule.get_mailbox_display()] if rule.mailbox else [])]
    tier = {"engaged": " to engaged people", "new": " to new people", "cold": " to cold people"}
    where = f" at {', '.join(places)}" if places else ""
    return f"{mail}{tier.get(rule.tier, ' to everybody')}{where}"


def way_of(rule: RoutingRule, names: dict[int, str]) -> str:
    """Return in words through whom a rule sends."""
    chosen = [names[pk] for pk in rule.providers if pk in names]
    if not chosen:
        return "nobody: the providers it names are gone"
    rest = "or wait" if rule.is_strict else "else by score"
    return f"{', then '.join(chosen)}, {rest}"


def answer_to(asked: Any, now: datetime, names: dict[int, str]) -> dict[str, str]:
    """Return which rule is for an address, in words; {} if nothing was asked."""
    if not asked.get("address"):
        return {}
    try:
        email = clean_address(asked["address"])
    except InvalidAddress as error:
        return {"error": f"{asked['address']} cannot be mailed: {error}"}
    person = Subscriber.objects.filter(email=email).first()
    tier = ruling.tier_of(person, now)
    stream = asked.get("stream") if asked.get("stream") in Stream.values else Stream.MARKETING
    rule = ruling.rule_of(email, stream, tier)
    known = "" if person else " (nobody we know)"
    who = f"{email}{known}, {Tier(tier).label.partition(':')[0].lower()}, {stream} mail"
    if rule is None:
        return {"who": who, "rule": "No rule matches: the best score decides."}
    return {"who": who, "rule": f"“{rule.name}”: {way_of(rule, names)}."}
