"""Addresses that get no mail: look one up, see why, lift it."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import NoReverseMatch, URLPattern, reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from emailplatform.admin import Button, Empty, PageAdmin, in_words
from emailplatform.errors import DomainError
from emailplatform.formats import ago, badge, exact
from emailplatform.models import AuditEntry
from emailplatform.secrets import address_key
from subscribers import consenting, enrolling, exchanging, holding
from subscribers.admin.forms import SuppressForm, SuppressListForm
from subscribers.consents import BY_TEAM
from subscribers.exchanging import Taken, Usual
from subscribers.models import Subscriber, Suppression
from subscribers.querysets import STOPPING

TONES = {"bounced": "bad", "complained": "bad", "blocked": "warn"}
_NO_ONE = b""


class SuppressAddressForm(SuppressForm):
    """An address of anybody, known or not, and why it is closed."""

    email = forms.CharField(max_length=320)


@admin.register(Suppression)
class SuppressionAdmin(PageAdmin):
    keyset = True
    heading = "Suppressions"
    intro = (
        "Addresses that get no mail, or not all of it, whatever list they are on. Only a "
        "fingerprint of each is kept, so the list cannot be read, but any address can be looked up."
    )
    add_label = "Suppress an address"
    list_display = ["why", "stops", "source", "when"]
    list_filter = ["reason", "stream"]
    list_select_related = ["list"]
    search_fields = ["address_key"]
    search_help_text = "Is this address suppressed? Write it in full"
    actions = None
    empty = Empty(
        "block",
        "No address is suppressed",
        "Unsubscribes, hard bounces and spam complaints come here by themselves, and stay when a "
        "person is deleted or imported again.",
    )

    @admin.display(description="Reason")
    def why(self, suppression: Suppression) -> SafeString:
        return badge(suppression.get_reason_display(), TONES.get(suppression.reason, "quiet"))

    @admin.display(description="Stops")
    def stops(self, suppression: Suppression) -> str:
        until = f" until {exact(suppression.expires_at)}" if suppression.expires_at else ""
        return f"{suppression.reach.capitalize()}{until}"

    @admin.display(description="When")
    def when(self, suppression: Suppression) -> str:
        return ago(suppression.created_at)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Suppression], search_term: str
    ) -> tuple[QuerySet[Suppression], bool]:
        """By a whole address: nothing else can be found among fingerprints."""
        if not search_term.strip():
            return queryset, False
        return queryset.filter(address_key=_fingerprint(search_term)), False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def own_urls(self) -> list[URLPattern]:
        return [
            self.deed("<int:pk>/lift/", self.lift, "lift", "delete"),
            self.page("import/", self.import_list, "import", "add"),
        ]

    def list_buttons(self, request: HttpRequest) -> list[Button]:
        buttons = super().list_buttons(request)
        if self.has_add_permission(request):
            buttons = [Button("Import list", self.url("import"), "upload_file"), *buttons]
        if request.user.has_perm("subscribers.export_subscriber"):
            url = reverse("v1:suppression-export")  # the API's: the same right and record
            buttons = [Button("Export", url, "download"), *buttons]
        return buttons

    def show(self, request: HttpRequest, suppression: Suppression) -> HttpResponse:
        person = Subscriber.objects.filter(address_key=suppression.address_key).first()
        buttons = []
        if self.has_delete_permission(request, suppression):
            question = (
                "Let this address be mailed again? Do so only if its owner asked for it. Providers "
                "that list it as well are told when lists are next compared, within a day."
            )
            url = self.url("lift", suppression.pk)
            buttons = [Button("Lift", url, "lock_open", "danger", post=True, confirm=question)]
        return self.render(
            request,
            "admin/subscribers/suppression.html",
            "Suppressed address",
            suppression,
            person=person,
            buttons=buttons,
            tone=TONES.get(suppression.reason, "quiet"),
            stops=_stopped_by(suppression),
            event=suppression.event,
            event_url=_event_url(suppression.event),
        )

    def lift(self, request: HttpRequest, suppression: Suppression) -> HttpResponse:
        who = f"lifted by {request.user.get_username()}"
        consenting.lift(suppression, timezone.now(), BY_TEAM, who)
        self.log_deletions(request, [suppression])
        self.message_user(request, "The address may be mailed again. Lists it left stay left.")
        return redirect(self.url("changelist"))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Suppress any address, also of nobody we know."""
        self.require(request, "add")
        form = SuppressAddressForm(request.POST or None)
        if request.method == "POST" and form.is_valid() and self._suppressed(request, form):
            return redirect(self.url("changelist"))
        return self.render(
            request, "admin/subscribers/suppress.html", "Suppress an address", form=form
        )

    def _suppressed(self, request: HttpRequest, form: SuppressAddressForm) -> bool:
        data = form.cleaned_data
        note = data["note"] or f"by {request.user.get_username()}"
        try:
            now = timezone.now()
            is_new = consenting.suppress(
                data["email"], data["reason"], note, now, BY_TEAM, form.reach_at(now)
            )
        except DomainError as error:
            in_words(form, error)
            return False
        said = "is suppressed" if is_new else "was suppressed already"
        self.message_user(request, f"{data['email']} {said}.")
        return True

    def import_list(self, request: HttpRequest) -> HttpResponse:
        """Take a file, show what it would do, then do it."""
        form = SuppressListForm(request.POST or None, request.FILES or None)
        answer = None
        if request.method == "POST" and form.is_valid():
            answer = self._read(request, form)
        template = "admin/subscribers/suppress_list.html"
        return answer or self.render(
            request, template, "Import a suppression list", form=form, most=exchanging.MOST_BYTES
        )

    def _read(self, request: HttpRequest, form: SuppressListForm) -> HttpResponse | None:
        """Rehearse a new file and hold it; read for good the one that was looked at."""
        data, me, now = form.cleaned_data, cast("int", request.user.pk), timezone.now()
        usual = Usual(data["reason"], form.reach_at(now))
        is_look = bool(data["file"])
        try:
            held = holding.hold(data["file"], me) if is_look else data["held"]
            with holding.held(held, me) as (content, name):
                taken = exchanging.read(
                    content, name, now, usual, is_rehearsal=is_look, proof=BY_TEAM
                )
        except DomainError as error:
            in_words(form, error)
            return None
        if is_look:
            return self._look_before(request, form, held, name, taken)
        holding.let_go(held, me)
        AuditEntry.objects.create(user_id=me, action="suppression.import", object_id=0)
        self.message_user(
            request,
            f"{name}: {taken.new:,} new, {taken.known:,} suppressed already, "
            f"{taken.refused:,} refused.",
        )
        return redirect(self.url("changelist"))

    def _look_before(
        self, request: HttpRequest, form: SuppressListForm, held: str, name: str, taken: Taken
    ) -> HttpResponse:
        chosen = {each: form.cleaned_data[each] or "" for each in ("reason", "reach", "days")}
        reasons = [
            (Suppression.Reason(reason).label, rows) for reason, rows in taken.reasons.most_common()
        ]
        return self.render(
            request,
            "admin/subscribers/suppress_list_check.html",
            "This is what will happen",
            name=name,
            taken=taken,
            reasons=reasons,
            chosen={**chosen, "held": held},
            reach=dict(form.fields["reach"].choices)[chosen["reach"]],  # type: ignore[attr-defined]
        )


def _stopped_by(suppression: Suppression) -> str:
    """Return which mail the reason stops, if that is not all of it."""
    if suppression.stream or suppression.list_id:
        return ""
    stopped = [s for s, reasons in STOPPING.items() if suppression.reason in reasons]
    return "" if len(stopped) == len(STOPPING) else f"{' and '.join(stopped[::-1])} only"


def _event_url(event: int | None) -> str:
    """Return where an event is shown; "" while no app tells of any."""
    try:
        return reverse("admin:webhooks_event_change", args=[event]) if event else ""
    except NoReverseMatch:
        return ""


def _fingerprint(text: str) -> bytes:
    """Return the key of an address; what is none matches no row."""
    try:
        return address_key(enrolling.clean(text))
    except DomainError:
        return _NO_ONE
