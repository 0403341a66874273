"""People: the list, and the page of one person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextInputWidget

from emailplatform.admin import Button, Empty, KeysetChangeList, PageAdmin, in_words
from emailplatform.errors import DomainError, InvalidInput
from emailplatform.formats import ago, badge
from subscribers import checking, consenting, engaging, enrolling
from subscribers.admin.checks import VERDICT_TONES, flag_badge
from subscribers.admin.filters import (
    AddressFilter,
    LanguageFilter,
    ListFilter,
    SegmentFilter,
    StageFilter,
    StatusFilter,
)
from subscribers.admin.forms import (
    PREFIX,
    PersonForm,
    SuppressForm,
    attribute_fields,
    attributes_in,
)
from subscribers.admin.privacy import privacy
from subscribers.consents import BY_TEAM
from subscribers.models import (
    Attribute,
    ConsentRecord,
    MailingList,
    Subscriber,
    Subscription,
    Suppression,
)

TONES = {
    Subscriber.Status.ACTIVE: "ok",
    Subscriber.Status.PENDING: "info",
    Subscriber.Status.UNSUBSCRIBED: "quiet",
    Subscriber.Status.BOUNCED: "bad",
    Subscriber.Status.COMPLAINED: "bad",
    Subscriber.Status.BLOCKED: "warn",
}
"""How a status is coloured."""
_SHORT = {
    "pending": "To confirm",
    "unsubscribed": "Unsubscribed",
    "bounced": "Bounced",
    "blocked": "Blocked",
}
_FACTS = ["first_name", "last_name", "language", "time_zone", "country", "tags", "attributes"]
_CONSENT_TONES = dict.fromkeys(["left", "left_all", "suppressed"], "warn") | {"asked": "info"}
MOST_CONSENTS = 100
_EXPORTED = {"list": "list", "segment": "segment", "mailbox__exact": "mailbox", "q": "q"}
"""Filter of the page → of the file, where both mean the same."""
TIMELINE = "admin:webhooks_event_of_person"
"""The fragment with a person's mails and events; the app that has it registers this name."""


class JudgedPeople(KeysetChangeList):
    """People with what is known of their addresses, read once for the page."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        known = checking.known_of({row.email for row in rows})
        for row in rows:
            row.check_ = known[row.email]
        self.result_list = rows


@admin.register(Subscriber)
class PeopleAdmin(PageAdmin):
    keyset = True
    form = PersonForm
    intro = "Everybody you know, whatever list they are on."
    add_label = "Add person"
    list_display = ["person", "standing", "on_lists", "language", "mailbox", "joined"]
    list_filter = [
        StatusFilter, ListFilter, SegmentFilter, StageFilter, AddressFilter, LanguageFilter,
        "mailbox",
    ]  # fmt: skip
    search_fields = ["email"]
    search_help_text = "Address begins with…"
    actions = ["unsubscribe_selected"]
    empty = Empty(
        "group",
        "Nobody here yet",
        "Import a CSV file from your shop, your CRM or another mail tool. Names, languages and "
        "your own columns come along, and people who left stay gone.",
        "Import people",
        "admin:subscribers_import_add",
    )

    class Media:
        css = {"all": ["ui/engagement.css"]}

    # --- The list ------------------------------------------------------------------------

    @admin.display(description="Person")
    def person(self, person: Any) -> SafeString:
        name = format_html('<br><span class="ui-quiet-text">{}</span>', person.full_name)
        flags = format_html_join("", " {}", ((flag_badge(f.kind),) for f in person.check_.flags))
        return format_html("{}{}{}", person.email, flags, name if person.full_name else "")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return JudgedPeople

    @admin.display(description="Status")
    def standing(self, person: Subscriber) -> SafeString:
        label = _SHORT.get(person.status, person.get_status_display())
        return badge(label, TONES.get(Subscriber.Status(person.status), "quiet"))

    @admin.display(description="Lists")
    def on_lists(self, person: Subscriber) -> str:
        standing = Subscription.Status
        words = {standing.ACTIVE: "{}", standing.HELD: "{} (held back)"}
        rows = [each for each in person.subscriptions.all() if each.status in words]
        return (
            ", ".join(words[standing(each.status)].format(each.list.name) for each in rows) or "–"
        )

    @admin.display(description="Since")
    def joined(self, person: Subscriber) -> str:
        return ago(person.created_at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscriber]:
        people: QuerySet[Subscriber] = super().get_queryset(request)
        return people.prefetch_related("subscriptions__list")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Subscriber], search_term: str
    ) -> tuple[QuerySet[Subscriber], bool]:
        """By the beginning of the address, out of its index; addresses are kept in lower case."""
        term = search_term.strip().lower()
        return (queryset.filter(email__startswith=term) if term else queryset), False

    def list_buttons(self, request: HttpRequest) -> list[Button]:
        buttons = super().list_buttons(request)
        url = _export_url(request)
        if url and request.user.has_perm("subscribers.export_subscriber"):
            buttons = [*buttons, Button("Export CSV", url, "download")]
        if request.user.has_perm("subscribers.add_import"):
            quiet = [button._replace(look="") for button in buttons]
            url = reverse("admin:subscribers_import_add")
            return [*quiet, Button("Import people", url, "upload_file", "primary")]
        return buttons

    @admin.action(description="Unsubscribe from everything", permissions=["change"])
    def unsubscribe_selected(self, request: HttpRequest, people: QuerySet[Subscriber]) -> None:
        for person in people:
            consenting.unsubscribe(person, [], timezone.now(), _by(request), BY_TEAM)
            self.log_change(request, person, "Unsubscribed from everything.")
        self.message_user(request, f"Done for {len(people)}: they get no more campaigns.")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Mails sent keep the address: erasing a person is more than deleting this row."""
        return False

    # --- One person ----------------------------------------------------------------------

    def own_urls(self) -> list[URLPattern]:
        return [
            *super().own_urls(),
            self.page("privacy/", self.privacy, "privacy", "erase"),
            self.page("<int:pk>/suppress/", self.suppress, "suppress", "change"),
            self.deed("<int:pk>/check/", self.check_address, "check"),
            self.deed("<int:pk>/lists/<int:source>/release/", self.release, "release"),
            self.deed("<int:pk>/unsubscribe/", self.unsubscribe, "unsubscribe"),
            self.deed("<int:pk>/lists/", self.add_to_list, "lists"),
            self.deed("<int:pk>/lists/<int:source>/leave/", self.leave_list, "leave"),
        ]

    def has_erase_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("subscribers.erase_subscriber"))

    def privacy(self, request: HttpRequest) -> HttpResponse:
        return privacy(self, request)

    def show(self, request: HttpRequest, person: Subscriber) -> HttpResponse:
        return self.render(
            request,
            "admin/subscribers/person.html",
            person.email,
            person,
            **_facts(person),
            tone=TONES.get(Subscriber.Status(person.status), "quiet"),
            buttons=self._buttons(request, person),
            timeline=_timeline_url(person),
        )

    def _buttons(self, request: HttpRequest, person: Subscriber) -> list[Button]:
        if not self.has_change_permission(request, person):
            return []
        question = f"Unsubscribe {person.email} from everything? Only they can sign up again."
        buttons = [Button("Edit", self.url("edit", person.pk), "edit")]
        if self.has_erase_permission(request):
            url = f"{self.url('privacy')}?person={person.pk}"
            buttons.append(Button("Export or erase", url, "privacy_tip"))
        if person.is_mailable:
            leave = self.url("unsubscribe", person.pk)
            buttons += [
                Button("Unsubscribe", leave, "unsubscribe", post=True, confirm=question),
                Button("Suppress", self.url("suppress", person.pk), "block", "danger"),
            ]
        return buttons

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kw: Any
    ) -> Any:
        """Return the form with a field per attribute."""
        fields = attribute_fields(Attribute.objects.all())
        if obj is None:
            fields = {"email": forms.CharField(widget=UnfoldAdminTextInputWidget), **fields}
        kw["form"] = type("PersonForm", (PersonForm,), fields)
        return super().get_form(request, obj, change, **kw)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        first = [] if obj else ["email"]
        usual = [*first, "first_name", "last_name", "language", "time_zone", "country", "tags"]
        own = list(attribute_fields(Attribute.objects.all()))
        return [(None, {"fields": usual}), *([("Your fields", {"fields": own})] if own else [])]

    def save_model(self, request: HttpRequest, person: Subscriber, form: Any, change: bool) -> None:
        """Create through the same door as API and imports; write what changed of a known person."""
        data = form.cleaned_data
        person.attributes = attributes_in(data, person.attributes)
        if change:
            person.updated_at = timezone.now()
            own = [name for name in data if not name.startswith(PREFIX)]
            person.save(update_fields=[*own, "attributes", "updated_at"])
            return
        facts = {name: getattr(person, name) for name in _FACTS}
        source = f"added by {request.user.get_username()}"
        now = timezone.now()
        enrolled, _ = enrolling.enrol(person.email, source=source, now=now, proof=BY_TEAM, **facts)
        person.pk = enrolled.pk

    # --- Deeds ---------------------------------------------------------------------------

    def unsubscribe(self, request: HttpRequest, person: Subscriber) -> None:
        source = f"unsubscribed by {request.user.get_username()}"
        consenting.unsubscribe(person, [], timezone.now(), source, BY_TEAM)
        self.done(request, person, f"{person} is unsubscribed from everything.")

    def add_to_list(self, request: HttpRequest, person: Subscriber) -> None:
        chosen = _list_of(request.POST.get("list", ""))
        if chosen is None:
            raise InvalidInput("Choose a list first.")
        source = f"added by {request.user.get_username()}"
        now = timezone.now()
        enrolling.enrol(person.email, [chosen], source=source, now=now, proof=BY_TEAM)
        standing = person.subscriptions.get(list=chosen)
        if standing.status == Subscription.Status.PENDING:
            self.done(
                request, person, f"{person} gets a mail, and is on {chosen} once they confirm."
            )
            return
        if standing.status != Subscription.Status.ACTIVE:
            raise InvalidInput(
                f"{person} left {chosen} by themselves: only they can sign up for it again."
            )
        self.done(request, person, f"{person} is on {chosen}.")

    def check_address(self, request: HttpRequest, person: Subscriber) -> None:
        """Ask DNS now, whatever was known."""
        checking.learn([person.email.partition("@")[2]], timezone.now())
        found = checking.known_of([person.email])[person.email]
        self.done(request, person, f"The address is checked: {found.verdict.label.lower()}.")

    def release(self, request: HttpRequest, person: Subscriber, source: int) -> None:
        rows = person.subscriptions.filter(list=source).values_list("pk", flat=True)
        if not Subscription.objects.clear(list(rows), timezone.now()):
            raise InvalidInput(f"{person} is not held back any more.")
        self.done(request, person, f"{person} is released: mail goes there from now on.")

    def leave_list(self, request: HttpRequest, person: Subscriber, source: int) -> None:
        consenting.unsubscribe(person, [source], timezone.now(), _by(request), BY_TEAM)
        self.done(request, person, f"{person} is off the list.")

    def suppress(self, request: HttpRequest, person: Subscriber) -> HttpResponse:
        """Ask for the reason, then close the address for good."""
        form = SuppressForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            note = form.cleaned_data["note"] or f"by {request.user.get_username()}"
            reason = form.cleaned_data["reason"]
            now = timezone.now()
            reach = form.reach_at(now)
            try:
                consenting.suppress(person.email, reason, note, now, BY_TEAM, reach)
            except DomainError as error:
                in_words(form, error)
            else:
                said = "no mail goes there any more" if reach.is_closing else "as far as you said"
                self.done(request, person, f"{person} is suppressed: {said}.")
                return self.back(request, person)
        return self.render(
            request, "admin/subscribers/suppress.html", "Suppress", person, form=form
        )


def _facts(person: Subscriber) -> dict[str, Any]:
    """Return what the page of a person shows, read in five statements."""
    standings = list(person.subscriptions.select_related("list").order_by("list__name"))
    known = {each.list_id for each in standings}
    lists = list(MailingList.objects.all())
    checked = checking.known_of([person.email])[person.email]
    labels = dict(Attribute.objects.values_list("name", "label"))
    own = [(labels.get(name, name), value) for name, value in sorted(person.attributes.items())]
    return {
        "standings": standings,
        "other_lists": [each for each in lists if each.pk not in known],
        "own": own,
        "check": checked,
        "verdict_tone": VERDICT_TONES[checked.verdict],
        "suppressions": list(
            Suppression.objects.of(bytes(person.address_key)).in_force().select_related("list")
        ),
        "engagement": engaging.of(person, timezone.now()),
        "consents": _consents(person, {each.pk: each.name for each in lists}),
    }


def _consents(person: Subscriber, names: Mapping[int, str]) -> list[Any]:
    """Return the newest of the record of consent, the lists by name."""
    rows: list[Any] = list(
        ConsentRecord.objects.of(bytes(person.address_key), person.pk)[:MOST_CONSENTS]
    )
    for row in rows:
        row.names = ", ".join(names.get(each, f"list {each}, since deleted") for each in row.lists)
        row.tone = _CONSENT_TONES.get(row.action, "ok")
    return rows


def _by(request: HttpRequest) -> str:
    return f"unsubscribed by {request.user.get_username()}"


def _timeline_url(person: Subscriber) -> str:
    """Return where the person's mails and events are; "" while no app tells of any."""
    try:
        return reverse(TIMELINE, args=[person.pk])
    except NoReverseMatch:
        return ""


def _list_of(key: str) -> MailingList | None:
    return MailingList.objects.filter(pk=int(key)).first() if key.isdecimal() else None


def _export_url(request: HttpRequest) -> str:
    """Return where the people on show are a file; "" if they are narrowed by what no file knows.

    It is the API's: the same right, and it is noted who took them out.
    """
    asked = {name: value for name, value in request.GET.items() if value}
    if set(asked) - _EXPORTED.keys() or "-" in asked.get("list", ""):
        return ""
    query = urlencode({_EXPORTED[name]: value for name, value in asked.items()})
    return f"{reverse('v1:people-export')}?{query}"
