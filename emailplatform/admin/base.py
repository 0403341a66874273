"""What every page of ours in the admin is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.admin import display
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import escape
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.admin import ModelAdmin as UnfoldAdmin
from unfold.admin import checkbox

from emailplatform.admin.keyset import KeysetChangeList
from emailplatform.errors import DomainError

Page = Callable[..., HttpResponseBase]
Deed = Callable[..., HttpResponseBase | None]


_BOX_KEY = "row-of-this-box"


@cache
def _box() -> str:
    return str(checkbox.render(ACTION_CHECKBOX_NAME, _BOX_KEY))


class Button(NamedTuple):
    """A button at the top right. With `post` it does something; else it leads somewhere.

    `confirm` is asked before it is done: say what will happen.
    """

    label: str
    url: str
    icon: str = ""
    look: str = ""
    """"primary" for the one next step, "danger" for what cannot be undone, "" for others."""
    post: bool = False
    confirm: str = ""


class Empty(NamedTuple):
    """What a list says while there is nothing in it: what it is for, and how to begin."""

    icon: str
    title: str
    text: str
    button: str = ""
    url_name: str = ""
    """An admin URL, e.g. "admin:subscribers_import_add"."""


class ModelAdmin(UnfoldAdmin):
    """Our defaults, pages of our own, buttons by POST, lists that do not count big tables."""

    compressed_fields = True
    warn_unsaved_form = True
    list_filter_sheet = True
    list_per_page = 50
    show_full_result_count = False
    show_facets = None
    actions_on_top = True
    keyset = False
    """Page by primary key, newest first, never counting: for tables that grow without end."""
    heading = ""
    """What the list is called at the top, if not by its model's name."""
    intro = ""
    """One sentence over the list: what it is for."""
    empty: Empty | None = None
    can_be_added = True
    add_label = ""
    """What the button that makes a new one says; “Add <name>” if empty."""

    @display(description=UnfoldAdmin.action_checkbox.short_description)
    def action_checkbox(self, obj: Model) -> SafeString:
        """The same box for every row: drawing each by itself takes a quarter of a list's time."""
        return SafeString(_box().replace(_BOX_KEY, escape(str(obj.pk))))

    # --- Lists ---------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return KeysetChangeList if self.keyset else super().get_changelist(request, **kwargs)

    def get_sortable_by(self, request: HttpRequest) -> Any:
        return () if self.keyset else super().get_sortable_by(request)

    def list_buttons(self, request: HttpRequest) -> list[Button]:
        """Return the buttons over the list; by default the one that makes a new row."""
        if not (self.can_be_added and self.has_add_permission(request)):
            return []
        label = self.add_label or f"Add {self.opts.verbose_name}"
        return [Button(label, self.url("add"), "add", "primary")]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        own = {"buttons": self.list_buttons(request), "heading": self.heading}
        context = {**own, **(extra_context or {})}
        context.setdefault("title", context["heading"] or capfirst(self.opts.verbose_name_plural))
        return super().changelist_view(request, context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> Any:
        """One way to save is enough."""
        own = {"show_save_and_continue": False, "show_save_and_add_another": False}
        context = {**own, **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    # --- Addresses -----------------------------------------------------------------------

    def url(self, name: str, *args: Any) -> str:
        """Return the address of one of this model's pages: "changelist", "change", or our own."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}", args=args)

    def own_urls(self) -> list[URLPattern]:
        """Return pages beyond those of Django's admin, made by `page` and `deed`."""
        return []

    def get_urls(self) -> list[URLPattern]:
        return [*self.own_urls(), *super().get_urls()]

    def page(self, route: str, view: Page, name: str, right: str = "view") -> URLPattern:
        """Return a page: `view(request, obj)` under "<int:pk>/…", `view(request)` elsewhere.

        Who lacks the right gets 403, who is not signed in the login page.
        """

        def guarded(request: HttpRequest, pk: int | None = None, **more: Any) -> HttpResponseBase:
            who = [] if pk is None else [self.get_object_or_404(request, pk)]
            self.require(request, right, *who)
            return view(request, *who, **more)

        full = f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        pattern: URLPattern = path(route, self.admin_site.admin_view(guarded), name=full)
        return pattern

    def deed(self, route: str, view: Deed, name: str, right: str = "change") -> URLPattern:
        """Return an address that does something: POST only; a refusal is shown on the page before.

        `view(request, obj)` returns where to go, or None for the page it was pressed on.
        """

        def posted(request: HttpRequest, *args: Any, **more: Any) -> HttpResponseBase:
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            try:
                answer: HttpResponseBase | None = view(request, *args, **more)
            except DomainError as error:
                self.message_user(request, str(error), messages.ERROR)
                answer = None
            return answer or self.back(request, *args)

        return self.page(route, posted, name, right)

    def back(self, request: HttpRequest, obj: Model | None = None) -> HttpResponse:
        """Return to the object's page, or to the list."""
        return redirect(self.url("change", obj.pk) if obj else self.url("changelist"))

    def done(self, request: HttpRequest, obj: Model, sentence: str) -> None:
        """Say that something is done, and write it into the row's history."""
        self.log_change(request, obj, sentence)
        self.message_user(request, sentence, messages.SUCCESS)

    def require(self, request: HttpRequest, right: str, *who: Model) -> None:
        """Refuse who may not "view", "add", "change" or "delete" (this row)."""
        asked_of = () if right == "add" else who
        if not getattr(self, f"has_{right}_permission")(request, *asked_of):
            raise PermissionDenied

    def get_object_or_404(self, request: HttpRequest, pk: int) -> Model:
        """Return the row, if this reader's list has it."""
        obj: Model | None = self.get_object(request, str(pk))
        if obj is None:
            raise Http404
        return obj

    # --- Pages of our own ----------------------------------------------------------------

    def render(
        self,
        request: HttpRequest,
        template: str,
        title: str,
        obj: Model | None = None,
        /,
        **context: Any,
    ) -> TemplateResponse:
        """Return one of our pages inside the admin's frame. Templates extend admin/page.html."""
        request.current_app = self.admin_site.name
        frame = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "original": obj,
            "media": self.media,
            "may_change": self.has_change_permission(request, obj),
        }
        return TemplateResponse(request, template, {**frame, **context})

    def fragment(
        self, request: HttpRequest, template: str, state: str, /, **context: Any
    ) -> HttpResponse:
        """Return a piece of a page that refreshes itself.

        The piece asks with `?state=` as it was drawn. Once the state is another, buttons and
        titles around it are stale as well: the browser is told to load the whole page.
        """
        if request.GET.get("state", state) != state:
            return HttpResponse(headers={"HX-Refresh": "true"})
        response = TemplateResponse(request, template, {"state": state, **context})
        response["Cache-Control"] = "no-store"
        return response


class PageAdmin(ModelAdmin):
    """Rows with a page of their own, drawn by `show`; what is known is changed under /edit/."""

    def show(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """Return the page of a row: `self.render(request, template, title, obj, …)`."""
        raise NotImplementedError

    def own_urls(self) -> list[URLPattern]:
        return [self.page("<int:pk>/edit/", self.edit, "edit", "change")]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        obj = self.get_object(request, object_id)
        if obj is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.has_view_or_change_permission(request, obj):
            raise PermissionDenied
        return self.show(request, obj)

    def edit(self, request: HttpRequest, obj: Any) -> Any:
        """Django's form of the row."""
        return self.changeform_view(request, str(obj.pk), "", {"title": "Edit"})

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        self.message_user(request, f"{obj} is saved.", messages.SUCCESS)
        return self.back(request, obj)

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> Any:
        if "_popup" in request.POST:
            return super().response_add(request, obj, post_url_continue)
        self.message_user(request, f"{obj} is there now.", messages.SUCCESS)
        return self.back(request, obj)


class ReadOnlyAdmin(ModelAdmin):
    """Pages to look at: nothing is added, changed or deleted here."""

    can_be_added = False
    actions: Sequence[Any] | None = None

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
