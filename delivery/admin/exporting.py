"""A campaign's messages as a CSV file, streamed page by page."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

from django.db.models import QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from django.utils.text import slugify

from campaigns.models import Campaign
from delivery.models import Message
from subscribers.parsing import guarded

PAGE = 2000
"""Rows per statement: nothing is held open between two, so a pool may sit in between."""
_COLUMNS = (
    "email",
    "status",
    "error",
    "provider__name",
    "sent_at",
    "delivered_at",
    "bounced_at",
    "bounce_class",
    "opened_at",
    "person_opened_at",
    "machine_opened_at",
    "clicked_at",
    "person_clicked_at",
    "machine_clicked_at",
    "unsubscribed_at",
    "complained_at",
)


class _Line:
    """What csv writes to: hands back each line."""

    def write(self, line: str) -> str:
        return line


def messages_csv(campaign: Campaign) -> HttpResponse:
    """Return every message of a campaign with its times (UTC, ISO 8601)."""
    lines = _lines(_rows(campaign))
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    name = slugify(campaign.name) or f"campaign-{campaign.pk}"
    response["Content-Disposition"] = f'attachment; filename="{name}-messages.csv"'
    response["Cache-Control"] = "no-store"
    return response  # type: ignore[return-value]  # streaming and plain responses share a base


def _rows(campaign: Campaign) -> Iterator[tuple[object, ...]]:
    """Yield the columns of each message: by person, as the index has them, then the erased."""
    messages = Message.objects.filter(campaign=campaign)
    yield from _by_key(messages.filter(subscriber__isnull=False), "subscriber_id")
    yield from _by_key(messages.filter(subscriber=None), "pk")


def _by_key(rows: QuerySet[Message], key: str) -> Iterator[tuple[object, ...]]:
    """Yield the columns of each row, a page after the other, in the order of a unique key."""
    rows = rows.order_by(key)
    page = list(rows.values_list(*_COLUMNS, key)[:PAGE])
    while page:
        yield from (row[:-1] for row in page)
        rest = rows.filter(**{f"{key}__gt": page[-1][-1]}) if len(page) == PAGE else rows.none()
        page = list(rest.values_list(*_COLUMNS, key)[:PAGE])


def _lines(rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow([name.replace("provider__name", "provider") for name in _COLUMNS])
    for row in rows:
        yield writer.writerow([guarded(_text(value)) for value in row])


def _text(value: object) -> str:
    return "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)
