"""Paging by key for big tables: no COUNT, no OFFSET."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db import connection
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.views import ChangeList

CURSORS = ("before", "after")


class KeysetPaginator(Paginator):
    """Names the template that pages by key; counts nothing."""

    template_name = "admin/parts/keyset.html"


class KeysetChangeList(ChangeList):
    """A list, newest first, that pages by primary key: `?before=<pk>` is older, `?after=` newer."""

    newer: int | None = None
    older: int | None = None
    estimate: int | None = None

    def get_filters(self, request: HttpRequest) -> Any:
        """Leave the cursors out of what is taken for filters and kept in links."""
        for name in CURSORS:
            self.filter_params.pop(name, None)
        return super().get_filters(request)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str]:
        return ["-pk"]

    def get_results(self, request: HttpRequest) -> None:
        """Read one page and learn whether there is one on either side."""
        before, after = (_whole(request.GET.get(name)) for name in CURSORS)
        if after is not None:
            rows = self._read(self.queryset.filter(pk__gt=after).order_by("pk"))
            has_more, rows = self._clip(rows)
            rows.reverse()
            has_newer, has_older = has_more, True
        else:
            older = self.queryset.filter(pk__lt=before) if before is not None else self.queryset
            rows = self._read(older)
            has_older, rows = self._clip(rows)
            has_newer = before is not None
        self._show(rows)
        self.newer = rows[0].pk if rows and has_newer else None
        self.older = rows[-1].pk if rows and has_older else None
        self.estimate = None if self.is_narrowed else estimated_rows(self.model)

    @property
    def is_narrowed(self) -> bool:
        """Is only a part of the table looked at?"""
        return bool(self.query or self.has_active_filters)

    def _read(self, rows: QuerySet[Any]) -> list[Any]:
        return list(rows[: self.list_per_page + 1])

    def _clip(self, rows: list[Any]) -> tuple[bool, list[Any]]:
        """Return whether there is more than a page, and the page."""
        return len(rows) > self.list_per_page, rows[: self.list_per_page]

    def _show(self, rows: list[Any]) -> None:
        """Fill in what templates and actions of the admin expect of a list."""
        self.result_list = rows
        self.result_count = self.full_result_count = len(rows)
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = self.multi_page = False
        self.paginator = KeysetPaginator(rows, self.list_per_page)


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 19 else None


def estimated_rows(model: type[Model]) -> int:
    """Return about how many rows the table has: what its last ANALYZE knew, 0 if it never ran."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT GREATEST(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%s)",
            [model._meta.db_table],
        )
        row = cursor.fetchone()
    return int(row[0]) if row else 0
