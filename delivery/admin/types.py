"""Message types: what each is promised, whether it is kept, and the form that changes it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.views import ChangeList

from campaigns.admin.forms import Styled
from delivery import promising
from delivery.models import Message, MessageType, Stream
from delivery.promising import Compliance
from emailplatform.admin import Empty, ModelAdmin
from emailplatform.formats import badge, number, share, span

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_PART = re.compile(r"(\d+)\s*(s|min|h|d)\b\s*")
LONGEST = timedelta(days=30)
GOOD, FAIR = 0.99, 0.95
TONES = {Stream.CRITICAL: "bad", Stream.TRANSACTIONAL: "info", Stream.MARKETING: "quiet"}


class SpanField(forms.CharField):
    """A duration as people write it: 90 s, 5 min, 1 h 30 min, 3 d."""

    def to_python(self, value: Any) -> Any:
        text = str(super().to_python(value) or "").strip().lower()
        if not text:
            return None
        parts = _PART.findall(text)
        if not parts or _PART.sub("", text):
            raise forms.ValidationError("Write it like 90 s, 5 min, 1 h 30 min or 3 d.")
        seconds = sum(int(amount[:9]) * _UNITS[unit] for amount, unit in parts)
        if not 0 < seconds <= LONGEST.total_seconds():
            raise forms.ValidationError(f"Between 1 s and {span(LONGEST)}.")
        return timedelta(seconds=seconds)

    def prepare_value(self, value: Any) -> Any:
        return _exact(value) if isinstance(value, timedelta) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


def _exact(duration: timedelta) -> str:
    """Return all of a duration, unlike `span`, which rounds to two units.

    >>> _exact(timedelta(seconds=90)), _exact(timedelta(days=1, minutes=5, seconds=1))
    ('1 min 30 s', '1 d 5 min 1 s')
    """
    rest = int(duration.total_seconds())
    parts = []
    for unit, size in reversed(_UNITS.items()):
        amount, rest = divmod(rest, size)
        if amount:
            parts.append(f"{amount} {unit}")
    return " ".join(parts)


class TypeForm(Styled, forms.ModelForm):
    deadline = SpanField(help_text="Within this time a provider should have taken it: the promise.")
    alert_after = SpanField(help_text="Operators are told when a mail waits longer than this.")
    expires_after = SpanField(help_text="Later than this it is not sent at all.")

    class Meta:
        model = MessageType
        fields = ["name", "label", "stream", "deadline", "alert_after", "expires_after"]


class TypeList(ChangeList):
    """Reads how all types did in a few statements, and hands each row its own."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        now = timezone.now()
        day, week = (
            promising.compliance(now - promising.DAY),
            promising.compliance(now - promising.WEEK),
        )
        waiting = promising.open_breaches()
        for row in self.result_list:
            row.day, row.week = day.get(row.pk), week.get(row.pk)
            row.waiting = waiting.get(row.pk, 0)
            if row.name == promising.MARKETING:
                row.campaigns = promising.campaigns_since(now - promising.WEEK)


@admin.register(MessageType)
class MessageTypeAdmin(ModelAdmin):
    form = TypeForm
    heading = "Message types"
    intro = (
        "What single mail is for, and how soon a provider must have it: counted from when it was "
        "asked for, or from its send time. Operators are told of mail that waits too long."
    )
    add_label = "New type"
    list_display = ["kind", "stream_badge", "promise", "day_rate", "week_rate", "times"]
    empty = Empty("timer", "No message types", "Each type promises how soon its mail goes out.")

    class Media:
        css = {"all": ["ui/mail.css"]}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return TypeList

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Programs send by the name: it stays."""
        return ["name"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What mail was sent by stays known; and campaigns are measured by “marketing”."""
        if obj is not None and (
            obj.name == promising.MARKETING or Message.objects.filter(type=obj).exists()
        ):
            return False
        return bool(super().has_delete_permission(request, obj))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return {}

    # --- The list ------------------------------------------------------------------------

    @admin.display(description="Type")
    def kind(self, kind: MessageType) -> SafeString:
        line = '<div class="ui-cell">{}<br><span class="ui-quiet-text ui-small">{}</span></div>'
        return format_html(line, kind.label, kind.name)

    @admin.display(description="Stream")
    def stream_badge(self, kind: MessageType) -> SafeString:
        return badge(kind.get_stream_display(), TONES[Stream(kind.stream)])

    @admin.display(description="Promise")
    def promise(self, kind: MessageType) -> SafeString:
        """The deadline; beneath, when operators are told and when it is given up."""
        line = '<div class="ui-cell">within {}<br><span class="ui-quiet-text ui-small">'
        limits = (_exact(each) for each in (kind.deadline, kind.alert_after, kind.expires_after))
        told = 'told after {}, <span class="ui-nowrap">given up after {}</span></span></div>'
        return format_html(line + told, *limits)

    @admin.display(description="In time, 24 hours")
    def day_rate(self, kind: Any) -> SafeString | str:
        return _kept(kind.day, kind.waiting)

    @admin.display(description="In time, 7 days")
    def week_rate(self, kind: Any) -> SafeString | str:
        if kind.name != promising.MARKETING:
            return _kept(kind.week, 0)
        stood = kind.campaigns
        line = '{}<br><span class="ui-quiet-text ui-small">{} of {} campaigns stood still</span>'
        return format_html(line, _kept(kind.week, 0), number(stood.late), number(stood.mails))

    @admin.display(description="Taken after, 7 days")
    def times(self, kind: Any) -> SafeString | str:
        """Within what time half of it was taken, and nearly all."""
        found: Compliance | None = kind.week
        if found is None or found.p50 is None or found.p95 is None or found.p99 is None:
            return "–"
        line = '<div class="ui-cell">{}<br><span class="ui-quiet-text ui-small">'
        line += "95 %: {} · 99 %: {}</span></div>"
        return format_html(line, _short(found.p50), _short(found.p95), _short(found.p99))


def _kept(found: Compliance | None, waiting: int) -> SafeString | str:
    """Return the share in time with the counts behind it, and what waits late at the moment."""
    if found is None or not found.mails:
        return "–"
    rate = found.in_time / found.mails
    tone = "ok" if rate >= GOOD else "warn" if rate >= FAIR else "bad"
    counts = f"{number(found.in_time)} of {number(found.mails)}"
    if waiting:
        counts += f", {number(waiting)} still waiting"
    line = '<div class="ui-cell">{}<br><span class="ui-quiet-text ui-small">{}</span></div>'
    return format_html(line, badge(share(found.in_time, found.mails), tone), counts)


def _short(duration: timedelta) -> str:
    """Return a duration with milliseconds where they matter.

    >>> _short(timedelta(seconds=0.084)), _short(timedelta(seconds=2.5)), _short(timedelta(0, 75))
    ('84 ms', '2.5 s', '1 min 15 s')
    """
    seconds = duration.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else span(seconds)
