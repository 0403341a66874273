"""A campaign's messages as a CSV file, streamed row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

from django.http import HttpResponse, StreamingHttpResponse
from django.utils.text import slugify

from campaigns.models import Campaign
from delivery.models import Message

_CHUNK = 2000
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
    "machine_opened_at",
    "clicked_at",
    "machine_clicked_at",
    "unsubscribed_at",
    "complained_at",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _Line:
    """What csv writes to: hands back each line."""

    def write(self, line: str) -> str:
        return line


def messages_csv(campaign: Campaign) -> HttpResponse:
    """Return every message of a campaign with its times (UTC, ISO 8601)."""
    rows = Message.objects.filter(campaign=campaign).order_by("subscriber_id")
    lines = _lines(rows.values_list(*_COLUMNS).iterator(_CHUNK))
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    name = slugify(campaign.name) or f"campaign-{campaign.pk}"
    response["Content-Disposition"] = f'attachment; filename="{name}-messages.csv"'
    response["Cache-Control"] = "no-store"
    return response  # type: ignore[return-value]  # streaming and plain responses share a base


def _lines(rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow([name.replace("provider__name", "provider") for name in _COLUMNS])
    for row in rows:
        yield writer.writerow([_cell(value) for value in row])


def _cell(value: object) -> str:
    """Return a value as text that spreadsheets do not take for a formula."""
    text = "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
