"""Imports: upload, choose columns, look before, watch, read the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import transaction
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.urls import URLPattern
from django.utils import timezone
from django.utils.safestring import SafeString

from emailplatform.admin import Button, Empty, PageAdmin
from emailplatform.errors import DomainError
from emailplatform.formats import ago, badge, number
from subscribers import importing, pacing, rehearsing, undoing
from subscribers.admin.forms import UploadForm
from subscribers.admin.mapping import Chosen, as_posted, chosen, columns_context
from subscribers.models import Import, MailingList
from subscribers.tasks import run_imports

TONES = {
    Import.Status.MAPPING: "info",
    Import.Status.QUEUED: "info",
    Import.Status.RUNNING: "info",
    Import.Status.PAUSED: "warn",
    Import.Status.DONE: "ok",
    Import.Status.FAILED: "bad",
    Import.Status.CANCELLED: "quiet",
}


@admin.register(Import)
class ImportAdmin(PageAdmin):
    keyset = True
    heading = "Imports"
    intro = "Files of people: what came in, what was refused and why."
    add_label = "Import people"
    list_display = [
        "file_name", "list", "state", "rows_count", "new_count", "updated_rows_count",
        "refused_rows_count", "when", "by",
    ]  # fmt: skip
    list_filter = ["status"]
    list_select_related = ["list", "created_by"]
    actions = None
    empty = Empty(
        "upload_file",
        "No imports yet",
        "Bring people from your shop, your CRM or another mail tool as a CSV or Excel file, or "
        "paste their addresses. You see what will happen before anything changes.",
        "Import people",
        "admin:subscribers_import_add",
    )

    # --- The list ------------------------------------------------------------------------

    @admin.display(description="File")
    def file_name(self, import_: Import) -> str:
        return import_.filename

    @admin.display(description="By")
    def by(self, import_: Import) -> str:
        return str(import_.created_by or "–")

    @admin.display(description="Status")
    def state(self, import_: Import) -> SafeString:
        label = import_.get_status_display()
        if import_.status == Import.Status.RUNNING:
            label = f"{label}, {import_.share_done:.0%}"
        return badge(label, TONES[Import.Status(import_.status)])

    @admin.display(description="Rows")
    def rows_count(self, import_: Import) -> str:
        return number(import_.rows)

    @admin.display(description="New")
    def new_count(self, import_: Import) -> str:
        return number(import_.created_count)

    @admin.display(description="Updated")
    def updated_rows_count(self, import_: Import) -> str:
        return number(import_.updated_count)

    @admin.display(description="Refused")
    def refused_rows_count(self, import_: Import) -> str:
        return number(import_.refused_count)

    @admin.display(description="When")
    def when(self, import_: Import) -> str:
        return ago(import_.created_at)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What was imported, by whom, stays known."""
        return False

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("<int:pk>/check/", self.look_before, "check", "change"),
            self.deed("<int:pk>/sheet/", self.choose_sheet, "sheet"),
            self.deed("<int:pk>/undo/", self.undo, "undo"),
            self.page("<int:pk>/progress/", self.progress, "progress"),
            self.page("<int:pk>/refused.csv", self.refused, "refused"),
            self.deed("<int:pk>/start/", self.start, "start"),
            self.deed("<int:pk>/pause/", self.pause, "pause"),
            self.deed("<int:pk>/resume/", self.resume, "resume"),
            self.deed("<int:pk>/cancel/", self.cancel, "cancel"),
        ]

    # --- 1. Upload -----------------------------------------------------------------------

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Take a file, or what was pasted, and the list it is for."""
        self.require(request, "add")
        form = UploadForm(
            request.POST or None, request.FILES or None, initial={"list": request.GET.get("list")}
        )
        if request.method == "POST" and form.is_valid() and (new := self._received(request, form)):
            if form.is_of_addresses:
                return HttpResponseRedirect(self.url("check", new.pk))
            return self.back(request, new)
        template = "admin/subscribers/import/upload.html"
        most = settings.MAX_UPLOAD_BYTES
        return self.render(
            request, template, "Import people", form=form, most=most, paste="paste" in request.GET
        )

    def _received(self, request: HttpRequest, form: UploadForm) -> Import | None:
        """Store the upload; a list made for it goes with it if the file is refused."""
        data = form.cleaned_data
        try:
            with transaction.atomic():
                target = data["list"]
                if data["new_list"]:
                    target = MailingList.objects.create(name=data["new_list"])
                content, name = form.content()
                # Staff only come here, so this is no AnonymousUser.
                return importing.start(content, name, target, user=cast("User", request.user))
        except DomainError as error:
            form.add_error(form.source, str(error))
            return None

    # --- 2. Columns, 3. look before --------------------------------------------------------

    def show(self, request: HttpRequest, import_: Import) -> HttpResponse:
        """Draw the page its state asks for."""
        if import_.status == Import.Status.MAPPING:
            return self._columns(request, import_, Chosen(import_.mapping, import_.known, []))
        return self.render(
            request,
            "admin/subscribers/import/page.html",
            import_.filename,
            import_,
            state=import_.status,
            tone=TONES[Import.Status(import_.status)],
            pace=pacing.pace(import_, timezone.now()),
            reasons=sorted(import_.reasons.items(), key=lambda item: -item[1]),
            warnings=sorted(import_.warnings.items(), key=lambda item: -item[1]),
            buttons=self._buttons(request, import_),
        )

    def _columns(
        self, request: HttpRequest, import_: Import, choice: Chosen, error: str = ""
    ) -> HttpResponse:
        template = "admin/subscribers/import/columns.html"
        try:
            context = columns_context(import_, choice.mapping)
        except DomainError as gone:
            context, error = {"columns": [], "problems": []}, str(gone)
        choices = [(value, str(label)) for value, label in Import.Known.choices]
        return self.render(
            request, template, import_.filename, import_, error=error, known=choice.known,
            known_choices=choices, tags=", ".join(choice.tags), **context,
        )  # fmt: skip

    def look_before(self, request: HttpRequest, import_: Import) -> HttpResponse:
        """Show what would happen with the columns as chosen, or as guessed; nothing changes."""
        if import_.status != Import.Status.MAPPING:
            return self.back(request, import_)
        posted = request.POST if request.method == "POST" else as_posted(import_)
        choice = chosen(import_, posted)
        try:
            rehearsal = rehearsing.rehearse(import_, choice.mapping)
        except DomainError as error:
            return self._columns(request, import_, choice, str(error))
        return self.render(
            request,
            "admin/subscribers/import/check.html",
            import_.filename,
            import_,
            rehearsal=rehearsal,
            chosen=_hidden(posted),
            tags=choice.tags,
            known_label=Import.Known(choice.known).label,
        )

    def start(self, request: HttpRequest, import_: Import) -> None:
        choice = chosen(import_, request.POST)
        importing.confirm(import_, choice.mapping, choice.known, tags=choice.tags)
        self.log_change(request, import_, "Started.")
        _nudge()

    def choose_sheet(self, request: HttpRequest, import_: Import) -> None:
        sheet = request.POST.get("sheet", "")
        importing.choose_sheet(import_, sheet)
        self.log_change(request, import_, f"Chose the sheet “{sheet}”.")

    # --- 4. Watch --------------------------------------------------------------------------

    def progress(self, request: HttpRequest, import_: Import) -> HttpResponse:
        """The fragment that refreshes itself."""
        pace = pacing.pace(import_, timezone.now())
        template = "admin/subscribers/import/progress.html"
        return self.fragment(request, template, import_.status, original=import_, pace=pace)

    def _buttons(self, request: HttpRequest, import_: Import) -> list[Button]:
        if not self.has_change_permission(request, import_):
            return []
        stop = Button(
            "Stop", self.url("cancel", import_.pk), "stop", "danger", post=True,
            confirm="Stop this import for good? People taken so far stay; the rest is left out.",
        )  # fmt: skip
        if import_.is_working:
            return [Button("Pause", self.url("pause", import_.pk), "pause", post=True), stop]
        if import_.status == Import.Status.PAUSED:
            go_on = self.url("resume", import_.pk)
            return [stop, Button("Go on", go_on, "play_arrow", "primary", post=True)]
        another = Button("Import another file", self.url("add"), "upload_file", "primary")
        if not import_.is_undoable:
            return [another]
        people = (
            "1 person" if import_.subscribed_count == 1 else f"{import_.subscribed_count:,} people"
        )
        undo = Button(
            "Take them off the list", self.url("undo", import_.pk), "undo", "danger", post=True,
            confirm=f"Take the {people} whom this import put on {import_.list} off it again? "
            "Who left or changed anything meanwhile stays as they are. The people themselves stay.",
        )  # fmt: skip
        return [undo, another]

    def pause(self, request: HttpRequest, import_: Import) -> None:
        import_.pause()
        self.done(request, import_, "The import is paused. It goes on where it stands.")

    def resume(self, request: HttpRequest, import_: Import) -> None:
        import_.resume()
        self.done(request, import_, "The import goes on.")
        _nudge()

    def cancel(self, request: HttpRequest, import_: Import) -> None:
        import_.cancel()
        self.done(request, import_, "The import is stopped. People taken so far stay.")

    def undo(self, request: HttpRequest, import_: Import) -> None:
        undoing.ask(import_, timezone.now())
        self.done(request, import_, "The import is being taken back.")
        _nudge()

    # --- 5. Result -------------------------------------------------------------------------

    def refused(self, request: HttpRequest, import_: Import) -> StreamingHttpResponse:
        """The rows that were not taken, each with its line and the reason, as a CSV file."""
        lines = importing.refused_csv(import_)
        name = f"refused-{import_.pk}.csv"
        return StreamingHttpResponse(
            lines,
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


def _nudge() -> None:
    """Have a worker begin at once. Without a broker the next beat finds the import anyway."""
    transaction.on_commit(run_imports.delay, robust=True)


def _hidden(posted: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was chosen, to be sent once more."""
    return [(name, str(posted[name])) for name in posted if name != "csrfmiddlewaretoken"]
