"""Sign-up forms: what they ask, how they look, how to put them on a site, what they bring."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import URLPattern
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from emailplatform.admin import Button, Empty, PageAdmin
from emailplatform.formats import ago, badge, number, share
from subscribers import confirming
from subscribers.guarding import TRAP
from subscribers.models import Attribute, Confirmation, MailingList, SignupForm
from subscribers.speaking import LANGUAGES

TEXTS = {
    "title": ("Heading", "Empty: the form’s name."),
    "intro": ("Introduction", "What people get, and how often."),
    "button": ("Button", "Empty: “Sign up” in this language."),
    "consent": (
        "What people agree to",
        "Kept word for word with every sign-up. Empty: a sentence with the names of the lists.",
    ),
    "thanks": ("Thanks", "Below what the page says by itself."),
}
_LONG = {"intro", "consent", "thanks"}
_USUAL = {"first_name": "First name", "last_name": "Last name"}
_ASKS = [("", "Not asked"), ("optional", "Optional"), ("required", "Required")]
DAYS = 30


class SignupFormForm(forms.ModelForm):
    """A form as its owner edits it: a row of choices per field, a group of texts per language."""

    lists = forms.ModelMultipleChoiceField(
        MailingList.objects.all(),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="With more than one, people choose.",
    )
    language = forms.ChoiceField(
        choices=list(LANGUAGES.items()),
        widget=UnfoldAdminSelectWidget,
        initial="en",
        label="Usual language",
        help_text="For whoever reads none of the languages below that you fill in.",
    )
    origins = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        label="Sites that may frame it",
        help_text="With spaces between them: https://www.example.com https://shop.example.com",
    )

    class Meta:
        model = SignupForm
        fields = [
            "name", "slug", "is_active", "lists", "language", "redirect_url", "origins",
            "proof_of_work", "hourly_limit", "from_name", "from_email",
        ]  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["origins"] = " ".join(self.instance.origins)
        for name in asked_names():
            asked = self.instance.fields.get(name)
            self.initial[f"ask_{name}"] = {None: "", True: "required", False: "optional"}[asked]
        for language in LANGUAGES:
            for part in TEXTS:
                text = self.instance.texts.get(language, {}).get(part, "")
                self.initial[f"text_{language}_{part}"] = text

    def clean_origins(self) -> list[str]:
        origins: list[str] = self.cleaned_data["origins"].split()
        for origin in origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in {"https", "http"}
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise forms.ValidationError(
                    f"“{origin}” is no site: write it like https://www.example.com, nothing behind."
                )
        return origins

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        has_sender = data.get("from_email") or settings.CONFIRM_FROM
        if any(each.double_opt_in for each in data.get("lists", [])) and not has_sender:
            self.add_error(
                "from_email",
                "These lists ask for confirmation: say from which address, or set CONFIRM_FROM.",
            )
        return data

    def save(self, commit: bool = True) -> Any:
        data = self.cleaned_data
        self.instance.fields = {
            name: said == "required"
            for name in asked_names()
            if (said := data.get(f"ask_{name}", ""))
        }
        texts = {
            language: {
                part: text.strip()
                for part in TEXTS
                if (text := data.get(f"text_{language}_{part}") or "").strip()
            }
            for language in LANGUAGES
        }
        self.instance.texts = {language: said for language, said in texts.items() if said}
        return super().save(commit)


def asked_names() -> dict[str, str]:
    """Return what forms may ask beyond the address: name -> label."""
    own = Attribute.objects.values_list("name", "label")
    return {**_USUAL, **{f"attributes.{name}": label for name, label in own}}


def _own_fields() -> dict[str, forms.Field]:
    fields: dict[str, forms.Field] = {
        f"ask_{name}": forms.ChoiceField(
            choices=_ASKS, required=False, label=label, widget=UnfoldAdminSelectWidget
        )
        for name, label in asked_names().items()
    }
    for language in LANGUAGES:
        for part, (label, help_text) in TEXTS.items():
            widget = (
                UnfoldAdminTextareaWidget({"rows": 3})
                if part in _LONG
                else UnfoldAdminTextInputWidget()
            )
            fields[f"text_{language}_{part}"] = forms.CharField(
                required=False, max_length=2_000, label=label, help_text=help_text, widget=widget
            )
    return fields


@admin.register(SignupForm)
class SignupFormAdmin(PageAdmin):
    heading = "Forms"
    intro = "Pages and snippets by which people join your lists."
    add_label = "Create form"
    list_display = ["name", "state", "on_lists", "address", "made"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}
    actions = None
    empty = Empty(
        "assignment",
        "No forms yet",
        "A form is a page people sign up on. Link to it, or put it on your site with a snippet. "
        "It keeps machines out and proves who agreed to what.",
        "Create form",
        "admin:subscribers_signupform_add",
    )

    @admin.display(description="Status")
    def state(self, form: SignupForm) -> SafeString:
        return badge("Open", "ok") if form.is_active else badge("Closed", "quiet")

    @admin.display(description="Lists")
    def on_lists(self, form: SignupForm) -> str:
        return ", ".join(each.name for each in form.lists.all()) or "–"

    @admin.display(description="Page")
    def address(self, form: SignupForm) -> SafeString:
        return format_html(
            '<a class="ui-link" href="/f/{0}/" target="_blank">/f/{0}/</a>', form.slug
        )

    @admin.display(description="Made")
    def made(self, form: SignupForm) -> str:
        return ago(form.created_at)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("lists")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Its link is out in the world: close it instead."""
        return False

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kw: Any
    ) -> Any:
        """Return the form with a choice per field and texts per language."""
        kw["form"] = type("SignupFormForm", (SignupFormForm,), _own_fields())
        kw["fields"] = SignupFormForm.Meta.fields
        return super().get_form(request, obj, change, **kw)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        asks = [f"ask_{name}" for name in asked_names()]
        first = {"fields": ["name", "slug", "is_active", "lists", "language"]}
        guard = ["proof_of_work", "hourly_limit", "from_name", "from_email"]
        return [
            (None, first),
            ("What it asks besides the address", {"fields": asks}),
            *(
                (
                    name,
                    {"fields": [f"text_{code}_{part}" for part in TEXTS], "classes": ["tab"]},
                )
                for code, name in LANGUAGES.items()
            ),
            ("Afterwards and elsewhere", {"fields": ["redirect_url", "origins"]}),
            ("Against machines, and who asks", {"fields": guard}),
        ]

    # --- One form ------------------------------------------------------------------------

    def own_urls(self) -> list[URLPattern]:
        return [
            *super().own_urls(),
            self.deed("<int:pk>/release/", self.release, "release"),
            self.deed("<int:pk>/drop/", self.drop, "drop"),
        ]

    def show(self, request: HttpRequest, form: SignupForm) -> HttpResponse:
        since = timezone.now().date() - timedelta(days=DAYS)
        days = form.days.filter(day__gt=since).order_by("-day")
        sums = days.aggregate(
            asked=Sum("asked", default=0),
            confirmed=Sum("confirmed", default=0),
            stopped=Sum("stopped", default=0),
        )
        page = f"{settings.PUBLIC_URL}/f/{form.slug}/"
        return self.render(
            request,
            "admin/subscribers/signup.html",
            form.name,
            form,
            page=page,
            snippets=_snippets(form, page),
            days=list(days),
            sums=sums,
            confirmed_share=share(sums["confirmed"], sums["asked"]),
            asks=form.lists.filter(double_opt_in=True).exists(),
            lists=list(form.lists.all()),
            held=Confirmation.objects.filter(form=form).held().count(),
            buttons=self._buttons(request, form, page),
        )

    def _buttons(self, request: HttpRequest, form: SignupForm, page: str) -> list[Button]:
        buttons = [Button("Open the page", page, "open_in_new")]
        if self.has_change_permission(request, form):
            buttons.append(Button("Edit", self.url("edit", form.pk), "edit", "primary"))
        return buttons

    def release(self, request: HttpRequest, form: SignupForm) -> None:
        count = confirming.release(form)
        self.done(request, form, f"{number(count)} confirmation mails are on their way.")

    def drop(self, request: HttpRequest, form: SignupForm) -> None:
        count = confirming.drop(form)
        self.done(request, form, f"{number(count)} sign-ups are dropped: nobody is asked.")


def _snippets(form: SignupForm, page: str) -> list[tuple[str, str, str, str]]:
    """Return (id, what it is, how to use it, code) of each way to put a form on a site."""
    context = {"page": page, "name": form.name, "trap": TRAP}
    style = "width:100%;max-width:32rem;height:36rem;border:0"
    frame = f'<iframe src="{page}?embed=1" title="{form.slug}" style="{style}"></iframe>'
    return [
        ("link", "A link", "To the page, in any menu or mail.", page),
        (
            "snippet",
            "HTML for your site",
            "Style it as you like. Our page comes up filled in, and people press its button.",
            render_to_string("admin/subscribers/signup_snippet.txt", context),
        ),
        (
            "frame",
            "A frame",
            "Works where the site is among those that may frame the form (Edit).",
            frame,
        ),
    ]
