"""The page on which columns of a file get their meaning: what it shows, and what it sends back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from subscribers import converting, guessing, importing
from subscribers.models import Attribute, Import

_TYPES = {"text": "text", "number": "numbers", "date": "dates", "boolean": "yes or no"}


def columns_context(import_: Import, mapping: Mapping[str, str]) -> dict[str, Any]:
    """Return how the file was understood, each column with what it may become."""
    preview = importing.preview(import_)
    attributes = {f"attributes.{each.name}": each.label for each in Attribute.objects.all()}
    columns = [
        {
            "name": f"column-{position}",
            "header": column.header,
            "samples": column.samples,
            "type": _TYPES.get(column.type, column.type),
            "field": mapping.get(column.header, ""),
            "groups": _groups(attributes, column.suggestion),
        }
        for position, column in enumerate(preview.columns)
    ]
    return {"preview": preview, "columns": columns, "problems": preview.problems}


def _groups(attributes: dict[str, str], suggestion: str) -> list[tuple[str, list[Any]]]:
    """Return the choices of a column: what people have anyway, fields of one's own, a new one."""
    groups = [("People", list(guessing.FIELDS.items()))]
    if attributes:
        groups.append(("Your fields", list(attributes.items())))
    if suggestion not in attributes:
        name = suggestion.partition(".")[2]
        groups.append(("New", [(suggestion, f"New field “{name}”")]))
    return groups


class Chosen(NamedTuple):
    """What the form says: columns by header, what to do with known people, tags for everybody."""

    mapping: dict[str, str]
    known: str
    tags: list[str]


def chosen(import_: Import, posted: Mapping[str, str]) -> Chosen:
    """Return what was chosen; columns have the names `column-<number>`."""
    mapping = {
        header: posted.get(f"column-{position}", "")
        for position, header in enumerate(import_.headers)
    }
    tags = [*converting.tags(posted.get("tags", ""))]
    return Chosen(mapping, posted.get("known", Import.Known.UPDATE), tags)


def as_posted(import_: Import) -> dict[str, str]:
    """Return what the form would send if nobody changed it."""
    columns = {
        f"column-{position}": import_.mapping.get(header, "")
        for position, header in enumerate(import_.headers)
    }
    return {**columns, "known": import_.known}
