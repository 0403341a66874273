"""Templates: the list, and the editor with the mail beside it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import get_template
from django.urls import URLPattern
from django.utils.safestring import SafeString

from campaigns import personalising
from campaigns.admin import previews
from campaigns.admin.forms import TemplateForm, source_in, variables_in
from campaigns.models import Template
from emailplatform.admin import Button, Empty, PageAdmin
from emailplatform.formats import ago, badge
from subscribers.models import Attribute

_MEANINGS = {
    "email": "their address",
    "first_name": "first name, often empty",
    "last_name": "last name, often empty",
    "full_name": "first and last name",
    "language": "like de",
    "country": "like DE",
    "unsubscribe_url": "their own unsubscribe page: every mail needs it",
    "campaign_name": "the campaign’s name",
    "company": "the sender’s name",
    "postal_address": "your postal address, from the settings",
}


@admin.register(Template)
class TemplateAdmin(PageAdmin):
    intro = (
        "What mails look like. A campaign takes a copy when it is sent, so edits never reach back."
    )
    add_label = "New template"
    list_display = ["name", "subject", "kind", "used_count", "changed"]
    search_fields = ["name"]
    actions = None
    empty = Empty(
        "draft",
        "No templates yet",
        "A template is a mail with places for what differs from person to person. "
        "Begin with ours and change the words.",
        "New template",
        "admin:campaigns_template_add",
    )

    class Media:
        css = {"all": ["ui/mail.css"]}
        js = ["ui/mail.js"]

    @admin.display(description="Format")
    def kind(self, template: Template) -> SafeString:
        return badge(template.get_format_display())

    @admin.display(description="Campaigns")
    def used_count(self, template: Any) -> int:
        return int(template.uses)

    @admin.display(description="Changed", ordering="updated_at")
    def changed(self, template: Template) -> str:
        return ago(template.updated_at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Template]:
        rows: QuerySet[Template] = super().get_queryset(request).annotate(uses=Count("campaign"))
        return rows

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("preview/", self.preview, "preview"),
            self.deed("<int:pk>/duplicate/", self.duplicate, "duplicate", "add"),
        ]

    def preview(self, request: HttpRequest) -> HttpResponse:
        """Show what is in the editor right now; nothing is saved."""
        source, person = source_in(request.POST), request.POST.get("person", "")
        return previews.answer(source, None, person, variables_in(request.POST))

    def duplicate(self, request: HttpRequest, template: Template) -> HttpResponse:
        names = [f"Copy of {template.name}"[:90]]
        names += [f"{names[0]} ({number})" for number in range(2, 50)]
        taken = set(Template.objects.filter(name__in=names).values_list("name", flat=True))
        template.pk, template.name = None, next(name for name in names if name not in taken)
        template.save(force_insert=True)
        self.done(request, template, f"{template.name} is made: change what you like.")
        return redirect(self.url("change", template.pk))

    # --- The editor ----------------------------------------------------------------------

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        """Begin with a small mail that works."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        starter = get_template("admin/campaigns/starter.mjml").template.source  # type: ignore[attr-defined]
        first = {
            "format": Template.Format.MJML,
            "subject": "{{ first_name | default('Hello', true) }}, here is our news",
            "body": starter,
        }
        return self._edit(request, Template(), TemplateForm(request.POST or None, initial=first))

    def show(self, request: HttpRequest, template: Template) -> HttpResponse:
        return self._edit(request, template, TemplateForm(request.POST or None, instance=template))

    def _edit(self, request: HttpRequest, template: Template, form: TemplateForm) -> HttpResponse:
        is_new = template.pk is None
        check = self.has_add_permission if is_new else self.has_change_permission
        may_save = check(request)
        if request.method == "POST":
            if not may_save:
                raise PermissionDenied
            if form.is_valid():
                saved = form.save()
                self.done(request, saved, f"{saved.name} is saved.")
                return redirect(self.url("change", saved.pk))
        return self.render(
            request,
            "admin/campaigns/template.html",
            "New template" if is_new else template.name,
            None if is_new else template,
            form=form,
            may_save=may_save,
            variables=_variables(),
            buttons=[] if is_new else self._buttons(request, template),
        )

    def _buttons(self, request: HttpRequest, template: Template) -> list[Button]:
        buttons = []
        if self.has_add_permission(request):
            url = self.url("duplicate", template.pk)
            buttons.append(Button("Duplicate", url, "content_copy", post=True))
        is_free = self.has_delete_permission(request) and not template.campaign_set.exists()
        if is_free:
            buttons.append(Button("Delete", self.url("delete", template.pk), "delete", "danger"))
        return buttons


def _variables() -> list[tuple[str, str]]:
    """Return what a template may write, and what it means."""
    names = [name for name in personalising.PERSON_NAMES if name in _MEANINGS]
    names += personalising.constants_of(None)
    own = [(each.name, each.label) for each in Attribute.objects.all()]
    return [(name, _MEANINGS.get(name, "")) for name in names] + own
