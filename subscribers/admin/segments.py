"""Segments: groups of people described by conditions, with a count that follows the hand."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from emailplatform.admin import Button, Empty, PageAdmin
from emailplatform.errors import InvalidInput
from emailplatform.formats import ago
from subscribers import comparing, explaining, sampling, segmenting
from subscribers.models import Segment, Subscriber

NEW: dict[str, Any] = {"match": "all", "rules": []}


class SegmentForm(forms.ModelForm):
    rules = forms.CharField(required=False, strip=True)

    class Meta:
        model = Segment
        fields = ["name", "description"]

    def clean_rules(self) -> Any:
        """Return valid rules in canonical spelling."""
        try:
            given = json.loads(self.cleaned_data["rules"] or "{}")
            rules = segmenting.validate(given, self.instance.pk)
        except ValueError as error:
            raise forms.ValidationError("These rules are no JSON.") from error
        except InvalidInput as error:
            raise forms.ValidationError(str(error)) from error
        if not rules["rules"]:
            raise forms.ValidationError("Add at least one condition: this would be everybody.")
        return rules


@admin.register(Segment)
class SegmentAdmin(PageAdmin):
    heading = "Segments"
    intro = (
        "Groups of people by what you know of them. Who belongs is decided when a campaign starts."
    )
    add_label = "Create segment"
    list_display = ["name", "described", "size_count", "made"]
    search_fields = ["name"]
    actions = None
    empty = Empty(
        "filter_alt",
        "No segments yet",
        "A segment is a rule, for example “plan is pro and language is German”. A campaign can go "
        "to it, alone or with a list.",
        "Create segment",
        "admin:subscribers_segment_add",
    )

    @admin.display(description="Who")
    def described(self, segment: Segment) -> str:
        return segmenting.told(segment.rules)

    @admin.display(description="People now")
    def size_count(self, segment: Segment) -> SafeString:
        """Counted after the page is there: one slow segment must not hold the others up."""
        return format_html(
            '<span hx-get="{}" hx-trigger="revealed" hx-swap="innerHTML">…</span>',
            self.url("size", segment.pk),
        )

    @admin.display(description="Made")
    def made(self, segment: Segment) -> str:
        return ago(segment.created_at)

    def own_urls(self) -> list[URLPattern]:
        return [
            *super().own_urls(),
            self.page("look/", self.look, "look"),
            self.page("<int:pk>/look/", self.look, "look_of"),
            self.page("suggest/", self.suggest, "suggest"),
            self.page("<int:pk>/overlap/", self.overlap, "overlap"),
            self.page("<int:pk>/why/", self.why, "why"),
            self.page("<int:pk>/size/", self.size, "size"),
            self.page("<int:pk>/sample/", self.sample, "sample"),
        ]

    # --- The page ------------------------------------------------------------------------

    def show(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        people = f"{reverse('admin:subscribers_subscriber_changelist')}?segment={segment.pk}"
        buttons = [Button("See people", people, "group")]
        if self.has_change_permission(request, segment):
            buttons.append(Button("Edit", self.url("edit", segment.pk), "edit", "primary"))
        return self.render(
            request,
            "admin/subscribers/segment/page.html",
            segment.name,
            segment,
            sentence=segmenting.told(segment.rules),
            buttons=buttons,
            uses=comparing.uses(segment),
            others=Segment.objects.exclude(pk=segment.pk),
        )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What something still reads is not deleted."""
        is_free = obj is None or not any(use.is_open for use in comparing.uses(obj))
        return is_free and bool(super().has_delete_permission(request, obj))

    def overlap(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """A fragment: this segment against another."""
        key = request.GET.get("with", "")
        other = (
            Segment.objects.filter(pk=int(key)).first()
            if key.isdecimal() and len(key) < 19
            else None
        )
        found, problem = None, ""
        try:
            found = comparing.overlap(segment.rules, other.rules) if other else None
        except InvalidInput as error:
            problem = str(error)
        template = "admin/subscribers/segment/overlap.html"
        facts = {"found": found, "segment": segment, "other": other, "problem": problem}
        return self.fragment(request, template, "", **facts)

    def why(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """A fragment: every condition, answered for one person."""
        address = request.GET.get("email", "").strip().lower()
        person = Subscriber.objects.filter(email=address).first()
        answer, problem = None, ""
        try:
            answer = explaining.explain(segment.rules, person, timezone.now()) if person else None
        except InvalidInput as error:
            problem = str(error)
        is_mailable = (
            person is not None and Subscriber.objects.filter(pk=person.pk).mailable().exists()
        )
        template = "admin/subscribers/segment/why.html"
        facts = {"answer": answer, "person": person, "address": address, "problem": problem}
        return self.fragment(request, template, "", is_mailable=is_mailable, **facts)

    def size(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """A fragment: the number alone."""
        try:
            return HttpResponse(f"{segmenting.count(segment.rules):,}")
        except InvalidInput as error:
            return HttpResponse(format_html('<span title="{}">–</span>', error))

    def sample(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """A fragment: number and ten people."""
        found = sampling.look(segment.rules)
        template = "admin/subscribers/segment/sample.html"
        return self.fragment(request, template, "", look=found)

    # --- The builder ---------------------------------------------------------------------

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        self.require(request, "add")
        return self._build(request, Segment(rules=NEW))

    def edit(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        return self._build(request, segment)

    def _build(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        is_new = segment.pk is None
        form = SegmentForm(request.POST or None, instance=segment)
        if request.method == "POST" and form.is_valid():
            segment.rules = form.cleaned_data["rules"]
            form.save()
            self.done(request, segment, f"{segment} is saved.")
            return self.back(request, segment)
        rules = request.POST.get("rules") or json.dumps(segment.rules or NEW)
        return self.render(
            request,
            "admin/subscribers/segment/builder.html",
            "Create segment" if is_new else f"Edit {segment.name}",
            None if is_new else segment,
            form=form,
            rules=rules,
            builder=_builder(_parsed(rules)),
        )

    def suggest(self, request: HttpRequest) -> JsonResponse:
        """Answer the builder: what people have in a field."""
        return JsonResponse({"values": comparing.suggestions(request.GET.get("field", ""))})

    def look(self, request: HttpRequest, segment: Segment | None = None) -> JsonResponse:
        """Answer the builder: count, sentence, ten people, or what is wrong at which condition."""
        given = _parsed(request.POST.get("rules", ""))
        found = sampling.look(given, segment.pk if segment else None)
        people = [{"email": each.email, "name": each.full_name} for each in found.people]
        return JsonResponse(
            {
                "count": found.count,
                "sentence": found.sentence,
                "people": people,
                "problems": found.problems,
                "problem": found.problem,
            }
        )


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return NEW


def _builder(rules: Any) -> dict[str, Any]:
    """Return what the builder begins with: nothing, if the rules are of no shape at all."""
    is_usable = isinstance(rules, dict) and isinstance(rules.get("rules"), list)
    return {
        "choices": segmenting.choices(),
        "rules": rules if is_usable else NEW,
        "deepest": segmenting.DEEPEST,
        "first": "language",
    }
