"""What is held on one person: seen, handed over, erased. The address is never in a URL."""

from __future__ import annotations

import json
from typing import Any, cast

from django import forms
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from emailplatform.admin import in_words
from emailplatform.errors import DomainError
from emailplatform.models import AuditEntry
from subscribers import erasing
from subscribers.consents import BY_TEAM
from subscribers.erasing import Who
from subscribers.models import Subscriber

TEMPLATE = "admin/subscribers/privacy.html"


class WhoForm(forms.Form):
    """Step one: whose data?"""

    email = forms.CharField(max_length=320, label="E-mail address")


class EraseForm(WhoForm):
    """Step two: the address typed once more."""

    confirm = forms.CharField(max_length=320)
    keep_out = forms.BooleanField(required=False, initial=True)

    def clean_confirm(self) -> str:
        said: str = self.cleaned_data["confirm"].strip().lower()
        if said != self.cleaned_data.get("email", "").strip().lower():
            raise forms.ValidationError("This is not the address above. Nothing was erased.")
        return said


def privacy(page: Any, request: HttpRequest) -> HttpResponse:
    """Return the page, or do what was pressed on it."""
    step = request.POST.get("step", "")
    form = EraseForm(request.POST) if step == "erase" else WhoForm(request.POST or None)
    if request.method != "POST":
        form = WhoForm(initial={"email": _asked_for(request)})
        return _page(page, request, form)
    try:
        who = erasing.who_is(request.POST.get("email", ""))
    except DomainError as error:
        form.is_valid()
        in_words(form, error)
        return _page(page, request, form)
    if step in ("json", "html"):
        return _hand_over(request, who, step)
    if step == "erase" and form.is_valid():
        return _erase(page, request, who, form)
    return _page(page, request, form, who)


def _asked_for(request: HttpRequest) -> str:
    """Return the address of the person from whose page somebody came."""
    key = request.GET.get("person", "")
    rows = Subscriber.objects.filter(pk=int(key) if key.isdecimal() else 0)
    return rows.values_list("email", flat=True).first() or ""


def _page(
    page: Any, request: HttpRequest, form: forms.Form, who: Who | None = None
) -> HttpResponse:
    held: list[tuple[str, str, int]] = []
    if who:
        told = erasing.tell(who, timezone.now())
        held = [
            (part.name, heading, len(rows))
            for part in erasing.PARTS
            for heading, rows in told[part.name].items()
            if rows
        ]
    answer: HttpResponse = page.render(
        request, TEMPLATE, "Data of a person", form=form, who=who, held=held, is_held=bool(held)
    )
    return answer


def _hand_over(request: HttpRequest, who: Who, kind: str) -> HttpResponse:
    told = erasing.tell(who, timezone.now())
    _audit(request, "privacy.export", who)
    if kind == "html":
        answer = HttpResponse(erasing.as_page(told))
    else:
        text = json.dumps(told, indent=2, ensure_ascii=False)
        answer = HttpResponse(text, content_type="application/json")
    answer["Content-Disposition"] = f'attachment; filename="person.{kind}"'
    answer["Cache-Control"] = "no-store"
    return answer


def _erase(page: Any, request: HttpRequest, who: Who, form: forms.Form) -> HttpResponse:
    done = erasing.erase(who, timezone.now(), keep_out=form.cleaned_data["keep_out"], proof=BY_TEAM)
    _audit(request, "privacy.erase", who)
    LogEntry.objects.create(
        user_id=cast("int", request.user.pk),
        content_type=ContentType.objects.get_for_model(Subscriber),
        object_id=str(who.person or ""),
        object_repr="erased",
        action_flag=CHANGE,
        change_message="Erased everything that was held on somebody.",
    )
    what = ", ".join(f"{number:,} {words}" for words, number in done.counts.items())
    kept = "The address is kept out." if done.is_kept_out else "An import may bring it back."
    page.message_user(request, f"Erased: {what or 'nothing was held'}. {kept}")
    return redirect(page.url("privacy"))


def _audit(request: HttpRequest, action: str, who: Who) -> None:
    AuditEntry.objects.create(user_id=request.user.pk, action=action, object_id=who.person or 0)
