"""The fields people have beyond the usual ones."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from emailplatform.admin import Empty, ModelAdmin
from subscribers.models import Attribute


@admin.register(Attribute)
class AttributeAdmin(ModelAdmin):
    heading = "People’s fields"
    intro = (
        "Fields of people beyond name, language and country. Imports fill them, segments compare "
        "them, templates write them."
    )
    add_label = "Add field"
    list_display = ["label", "in_templates", "type"]
    search_fields = ["name", "label"]
    fields = ["label", "name", "type"]
    actions = None
    empty = Empty(
        "label",
        "No fields of your own yet",
        "Import a file: every column that is not a name, a language or a country becomes a field, "
        "for example “plan” or “lifetime value”.",
        "Import people",
        "admin:subscribers_import_add",
    )

    @admin.display(description="In templates")
    def in_templates(self, attribute: Attribute) -> str:
        return f"{{{{ {attribute.name} }}}}"

    def get_readonly_fields(self, request: HttpRequest, obj: Attribute | None = None) -> Any:
        """People's values are kept under the name: it stays."""
        return ["name"] if obj else []
