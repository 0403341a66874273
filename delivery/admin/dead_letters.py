"""Dead letters: what failed for good, grouped by class of error, and how it gets another try."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.core.cache import cache
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from delivery import reviving, tasks
from delivery.admin.filters import CampaignFilter, ProviderFilter
from delivery.models import DeadLetter, Message, MessageType, Stream
from delivery.reviving import CLASSES, Choice
from emailplatform.admin import Button, Empty, KeysetChangeList, ReadOnlyAdmin
from emailplatform.celery import nudge
from emailplatform.errors import InvalidInput
from emailplatform.formats import ago, number
from emailplatform.formats import badge as label

FRESH_S = 10
BADGE_FRESH_S = 30
MOST_COUNTED = 1000
MOST_NAMED = 3
_NARROWERS = ("fault", "provider", "campaign", "stream", "type")


class _OwnFilter(SimpleListFilter):
    """Narrowed by `Choice`, so that lists and retries mean the same rows."""

    parameter_name: str

    def queryset(self, request: HttpRequest, rows: Any) -> Any:
        known = {value for value, _label in self.lookup_choices}
        if self.value() not in known:
            return rows
        narrow: dict[str, Any] = {self.parameter_name: self.value()}
        return Choice(**narrow).narrow(rows)


class ClassFilter(_OwnFilter):
    title = "class of error"
    parameter_name = "fault"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(CLASSES.items())


class StreamFilter(_OwnFilter):
    title = "stream"
    parameter_name = "stream"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, str(name)) for value, name in Stream.choices]


class TypeFilter(_OwnFilter):
    title = "message type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(MessageType.objects.values_list("name", "label"))


def badge(request: HttpRequest) -> str:
    """Return how many dead letters wait for a person, for the menu; "" for none."""
    count = cache.get_or_set(
        "dead-letters:waiting",
        lambda: reviving.waiting(timezone.now(), MOST_COUNTED),
        BADGE_FRESH_S,
    )
    if not count:
        return ""
    return f"{number(count)}{'+' if count == MOST_COUNTED else ''}"


class LetterList(KeysetChangeList):
    """The table has all messages: about how many rows it has says nothing here."""

    @property
    def is_narrowed(self) -> bool:
        return True


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    keyset = True
    intro = (
        "Mail that failed for good or was too late, with the reason. Mend what the reason names, "
        "then try it again: nobody here has the mail."
    )
    list_display = ["recipient", "of_what", "reason", "through", "died", "retry_button"]
    list_display_links = None
    list_filter = [ClassFilter, ProviderFilter, CampaignFilter, StreamFilter, TypeFilter]
    list_select_related = ["campaign", "provider", "type", "handoff"]
    list_before_template = "admin/delivery/dead_letters_head.html"
    actions = ["retry_selected"]
    empty = Empty("mark_email_read", "No dead letters", "Nothing failed for good.")

    class Media:
        css = {"all": ["ui/mail.css"]}

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("retry/", self.ask, "retry"),
            self.deed("retry/now/", self.retry, "retry_now", "revive"),
            self.deed("<int:letter>/retry/", self.retry_one, "retry_one", "revive"),
        ]

    def has_revive_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may have mail sent again: rows are only looked at here."""
        return request.user.has_perm("delivery.change_deadletter")

    # --- The list ------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return LetterList

    def get_queryset(self, request: HttpRequest) -> Any:
        rows: Any = super().get_queryset(request)
        return rows.dead().defer("provider__secrets", "provider__config", "handoff__reason")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        choice = _choice(request)
        own = {"classes": _counted(choice), "narrowed": not choice.is_everything}
        return super().changelist_view(request, {**own, **(extra_context or {})})

    def list_buttons(self, request: HttpRequest) -> list[Button]:
        choice = _choice(request)
        if not self.has_revive_permission(request) or not _counted(choice):
            return []
        query = request.GET.urlencode() and f"?{_query(request)}"
        words = "Retry all" if choice.is_everything else "Retry all of this filter"
        return [Button(f"{words}…", self.url("retry") + query, "refresh", "primary")]

    def get_list_display(self, request: HttpRequest) -> list[str]:
        columns = list(super().get_list_display(request))
        return columns if self.has_revive_permission(request) else columns[:-1]

    @admin.display(description="To")
    def recipient(self, letter: DeadLetter) -> SafeString:
        url = reverse("admin:delivery_message_change", args=[letter.pk])
        return format_html('<a class="ui-link" href="{}">{}</a>', url, letter.email)

    @admin.display(description="Campaign or type")
    def of_what(self, letter: DeadLetter) -> str:
        return str(letter.campaign or letter.type or f"{letter.get_stream_display()} mail")

    @admin.display(description="What is wrong")
    def reason(self, letter: DeadLetter) -> SafeString:
        name = reviving.class_of(letter)
        tone = "quiet" if name == Message.Fault.ADDRESS else "bad"
        words = "nobody could take it in time" if name == reviving.EXPIRED else letter.error
        line = '<div class="ui-cell">{}<br><span class="ui-quiet-text ui-small">{}</span></div>'
        return format_html(line, label(CLASSES[name], tone), words or "no reason given")

    @admin.display(description="Provider")
    def through(self, letter: DeadLetter) -> str:
        return str(letter.provider or "–")

    @admin.display(description="When")
    def died(self, letter: DeadLetter) -> SafeString | str:
        return ago(reviving.died_at(letter) or letter.created_at)

    @admin.display(description="")
    def retry_button(self, letter: DeadLetter) -> SafeString:
        """A button of the list's own form, since forms cannot stand inside one another."""
        return format_html(
            '<button class="ui-button ui-button-small" formmethod="post" formaction="{}"'
            ' data-confirm="Send the mail to {} again?">Retry</button>',
            self.url("retry_one", letter.pk),
            letter.email,
        )

    # --- Another try ---------------------------------------------------------------------

    @admin.action(description="Retry…", permissions=["revive"])
    def retry_selected(self, request: HttpRequest, rows: QuerySet[DeadLetter]) -> HttpResponse:
        pks = list(rows.values_list("pk", flat=True))
        return self._ask(request, Choice(ids=pks))

    def ask(self, request: HttpRequest) -> HttpResponse:
        """Say what will happen to all of a filter, and ask."""
        self.require(request, "revive")
        return self._ask(request, _choice(request))

    def _ask(self, request: HttpRequest, choice: Choice) -> HttpResponse:
        rows = reviving.revivable(choice)
        count, chosen = rows.count(), sum(reviving.by_class(choice).values())
        names = reviving.campaigns_of(rows)
        answer: TemplateResponse = self.render(
            request,
            "admin/delivery/retry.html",
            "Try dead letters again",
            count=count,
            left_out=chosen - count,
            names=names[:MOST_NAMED],
            more_names=max(0, len(names) - MOST_NAMED),
            most=reviving.MOST_AT_ONCE if count > reviving.MOST_AT_ONCE else 0,
            ids=choice.ids,
            query=_query(request),
        )
        return answer

    def retry(self, request: HttpRequest) -> None:
        """Queue all of a filter again, or those that were ticked."""
        pks = [int(pk) for pk in request.POST.getlist("ids") if pk.isdecimal() and len(pk) < 19]
        self._retry(request, Choice(ids=pks) if pks else _choice(request))

    def retry_one(self, request: HttpRequest, letter: int) -> HttpResponse:
        self._retry(request, Choice(ids=[letter]))
        return redirect(_back(request) or self.url("changelist"))

    def _retry(self, request: HttpRequest, choice: Choice) -> None:
        revived = reviving.revive(choice, timezone.now())
        if not revived.queued:
            raise InvalidInput(
                "Nothing was queued: they were tried meanwhile, or their campaign was stopped."
            )
        wake()
        cache.delete("dead-letters:waiting")
        mails = "1 mail" if revived.queued == 1 else f"{number(revived.queued)} mails"
        rest = " There are more: press it again." if revived.is_rest else ""
        self.log_change(request, _of_log(choice), f"{mails} queued again: {choice.in_words()}.")
        self.message_user(request, f"{mails} queued again.{rest}", messages.SUCCESS)


def wake() -> None:
    """Let workers of all streams look now."""
    for task in (tasks.send_critical, tasks.send_transactional, tasks.send_marketing):
        nudge(task)


def _choice(request: HttpRequest) -> Choice:
    """Return what the address bar says; values that are none narrow nothing, as in the list."""
    given = {name: request.GET.get(name, "") for name in _NARROWERS}
    keys: dict[str, Any] = {
        name: int(given[name])
        for name in ("provider", "campaign")
        if given[name].isdecimal() and len(given[name]) < 19
    }
    return Choice(
        fault=given["fault"] if given["fault"] in CLASSES else "",
        stream=given["stream"] if given["stream"] in Stream.values else "",
        type=given["type"],
        **keys,
    )


def _query(request: HttpRequest) -> str:
    """Return the filters of the address bar, without pages and the like."""
    kept = request.GET.copy()
    for name in set(kept) - set(_NARROWERS):
        del kept[name]
    return kept.urlencode()


def _back(request: HttpRequest) -> str:
    """Return the list's address with its filters, from where a button of a row was pressed."""
    here = reverse("admin:delivery_deadletter_changelist")
    _, found, query = request.headers.get("Referer", "").partition(f"{here}?")
    return f"{here}?{query}" if found else ""


def _counted(choice: Choice) -> list[dict[str, Any]]:
    """Return the classes of the chosen letters with their counts; a few seconds old."""
    key = f"dead-letters:{choice!r}".replace(" ", "")
    counts: dict[str, int] = cache.get_or_set(key, lambda: reviving.by_class(choice), FRESH_S) or {}
    return [{"name": name, "label": CLASSES[name], "count": n} for name, n in counts.items()]


def _of_log(choice: Choice) -> Message:
    """Return what the log entry is about: the letter, or none (id 0) for many."""
    return DeadLetter(pk=choice.ids[0] if len(choice.ids) == 1 else 0, email="")
