"""What programs changed through the API: read, never edited."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from emailplatform.admin.base import Empty, ReadOnlyAdmin
from emailplatform.formats import ago
from emailplatform.models import AuditEntry


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    keyset = True
    heading = "Changes through the API"
    intro = "Who changed what with an API key. What people did here is in the history of each page."
    list_display = ["what", "which", "who", "when"]
    list_display_links = None
    list_filter = ["key"]
    list_select_related = ["key", "user"]
    empty = Empty("history", "Nothing was changed through the API yet", "Each change appears here.")

    @admin.display(description="What")
    def what(self, entry: AuditEntry) -> str:
        noun, _, verb = entry.action.partition(".")
        return f"{noun}: {verb.replace('_', ' ').replace('partial update', 'change')}"

    @admin.display(description="Number")
    def which(self, entry: AuditEntry) -> str:
        return str(entry.object_id)

    @admin.display(description="By")
    def who(self, entry: AuditEntry) -> str:
        return str(entry.key or entry.user or "a key or user that is gone")

    @admin.display(description="When")
    def when(self, entry: AuditEntry) -> SafeString | str:
        return ago(entry.at)
