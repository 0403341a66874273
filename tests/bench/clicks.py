"""click_cpu_us: what one click on a counted link costs, where it leads known already."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

from django.db import connection
from django.utils import timezone

from campaigns import personalising
from campaigns.models import Campaign, Link
from delivery.models import Message
from emailplatform.wsgi import application
from tests.bench.processes import Failed
from tests.bench.table import Table
from webhooks import crediting
from webhooks.models import Sighting

AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0"

NUMBER = 9000
"""Of a link beside the campaign's own: those may be personal, and carry their address."""


def measure(table: Table, campaign: Campaign, clicks: int) -> None:
    """Click through WSGI, one after the other, on mails of a campaign that was sent."""
    Campaign.objects.filter(pk=campaign.pk).update(tracking="full")
    Link.objects.get_or_create(
        campaign=campaign, number=NUMBER, defaults={"url": "https://shop.example/?a=1"}
    )
    ids = list(Message.objects.filter(campaign=campaign).values_list("pk", flat=True)[:clicks])
    paths = [personalising.tracking_url("", pk, campaign.pk) + f"/{NUMBER}" for pk in ids]
    for path in paths[:50]:
        _click(path)
    began, cpu, backend = time.perf_counter(), time.process_time(), _backend_cpu_s()
    for path in paths:
        _click(path)
    cpu, taken = time.process_time() - cpu, time.perf_counter() - began
    backend = _backend_cpu_s() - backend
    note = (
        f"of it PostgreSQL {backend / len(paths) * 1e6:,.0f}; {len(paths) / taken:,.0f}/s in turn"
    )
    table.add(
        "click_cpu_us", (cpu + backend) / len(paths) * 1e6, "µs/click", f"{note}; budget 5000"
    )
    noted, began = Sighting.objects.count(), time.perf_counter()
    while crediting.credit_sightings(timezone.now()):
        pass
    each = (time.perf_counter() - began) / noted * 1e6
    table.add("click_credit_us", each, "µs/click", f"{noted:,} sightings → events, by the clock")


def _click(path: str) -> None:
    environ: dict[str, Any] = {"PATH_INFO": path, "HTTP_USER_AGENT": AGENT}
    setup_testing_defaults(environ)
    environ |= {"REMOTE_ADDR": "192.0.2.7", "HTTP_HOST": "127.0.0.1"}
    answers: list[str] = []

    def start(status: str, _headers: Any, _error: Any = None, /) -> Any:
        answers.append(status)

    body = application(environ, start)
    close = getattr(body, "close", None)
    if close:
        close()
    if not answers[0].startswith("302"):
        raise Failed(f"A click was answered with {answers[0]}.")


def _backend_cpu_s() -> float:
    """Return the CPU seconds of the database process that this connection has."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone() or (0,)
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
