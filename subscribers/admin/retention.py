"""How long what is kept, and when it was last looked after."""

from __future__ import annotations

from django.contrib import admin

from emailplatform.admin import Empty, ReadOnlyAdmin
from emailplatform.formats import ago, number
from subscribers import retaining
from subscribers.models import RetentionRun


@admin.register(RetentionRun)
class RetentionRunAdmin(ReadOnlyAdmin):
    heading = "Retention"
    intro = (
        "Every night, what is older than its period is ended. The periods are settings: "
        "KEEP_EVENTS_DAYS and so on. Figures of campaigns stay."
    )
    list_display = ["what", "period", "when", "last", "so_far"]
    list_display_links = None
    empty = Empty("auto_delete", "Nothing has been ended yet", "The first run is tonight.")

    @admin.display(description="What")
    def what(self, run: RetentionRun) -> str:
        return next((each.label for each in retaining.KINDS if each.name == run.kind), run.kind)

    @admin.display(description="Kept for")
    def period(self, run: RetentionRun) -> str:
        days = next((each.days() for each in retaining.KINDS if each.name == run.kind), 0)
        return f"{days} days" if days else "Ever"

    @admin.display(description="Last run")
    def when(self, run: RetentionRun) -> str:
        return ago(run.ran_at)

    @admin.display(description="Rows then")
    def last(self, run: RetentionRun) -> str:
        return number(run.ended)

    @admin.display(description="Rows so far")
    def so_far(self, run: RetentionRun) -> str:
        return number(run.total)
