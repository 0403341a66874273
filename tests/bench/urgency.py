"""urgent_s: a large campaign is being sent; how long until a provider has a critical mail."""

from __future__ import annotations

import secrets
import sys
import time
from datetime import datetime
from typing import Any

from django.utils import timezone

from campaigns import launching
from campaigns.models import Campaign
from delivery import accepting, expanding, tasks
from delivery.accepting import Wish
from delivery.models import Message, Stream
from emailplatform.celery import nudge
from emailplatform.management.commands.run import WORKER, WORKERS
from subscribers.models import MailingList
from tests.bench.processes import PATIENCE_S, Failed, Processes
from tests.bench.providing import provider
from tests.bench.sending import LOOK_EVERY_S, SENDERS, make_campaign, sending_processes
from tests.bench.table import Table

PER_S = 10.0
"""Critical mails asked for per second."""
BODY = "<p>Your code is 123456. It is good for ten minutes.</p>"


def measure(processes: Processes, table: Table, target: MailingList, mails: int) -> None:
    """Ask for critical mails, as the API does, while the campaign goes out beside them.

    A worker of Celery for the critical queue sends them, as in `manage.py run`; the campaign has
    workers of its own. Time is counted from before the mail is checked until it is recorded.
    """
    celery = [sys.executable, "-m", "celery", "--quiet", "-A", "emailplatform", *WORKER]
    with provider(processes, "sendgrid") as account, sending_processes(processes, SENDERS):
        slots, queues = WORKERS["critical"]
        of_their_own = ["-n", "critical@%h", "-c", str(slots), "-Q", queues]
        processes.start("urgent", [*celery, *of_their_own])
        _await_worker()
        campaign = make_campaign("Beside urgent mail", target)
        launching.launch(campaign, timezone.now())
        expanding.expand_all(timezone.now())
        began = _sent(campaign)
        asked = {}
        for _ in range(mails):
            now = timezone.now()
            asked[_ask_for(now)] = now
            time.sleep(1 / PER_S)
        beside = _sent(campaign) - began
        if not Message.objects.is_under_way(campaign.pk):
            raise Failed("The campaign was over before the urgent mails were.")
        campaign.pause()
        took = _await(asked)
        processes.stop("urgent")
    took.sort()
    words = f"{mails} critical mails, {account.call_size} people per call of the campaign,"
    words += f" of which {beside:,} mails went out meanwhile"
    table.add("urgent_p50_ms", took[len(took) // 2] * 1000, "ms", words)
    table.add("urgent_p99_ms", took[len(took) * 99 // 100] * 1000, "ms", f"worst {took[-1]:.2f} s")


def _ask_for(now: datetime) -> int:
    """Do what the API does for one critical mail; return its message."""
    wish = Wish(
        sender=("security@press.example", "Example Press"),
        to=[(f"ana-{secrets.token_hex(8)}@gmail.com", "Ana")],  # One person gets only so many.
        subject="Your code",
        html=BODY,
        stream=Stream.CRITICAL,
    )
    [message] = accepting.accept([accepting.prepare(wish, None, now)])
    nudge(tasks.send_critical)
    return message.pk


def _await_worker() -> None:
    """Wait until the urgent worker sends: a nudge before it is there goes stale."""
    deadline = time.monotonic() + PATIENCE_S
    first = Message.objects.filter(pk=_ask_for(timezone.now()))
    while not first.filter(status=Message.Status.SENT).exists():
        if time.monotonic() > deadline:
            raise Failed(f"The urgent worker does not send: {first.values('status', 'error')[0]}")
        time.sleep(1)
        nudge(tasks.send_critical)


def _await(asked: dict[int, datetime]) -> list[float]:
    """Wait until all are sent; return the seconds each took since it was asked for."""
    deadline = time.monotonic() + PATIENCE_S
    rows = Message.objects.filter(pk__in=asked, status=Message.Status.SENT)
    while rows.count() < len(asked):
        if time.monotonic() > deadline:
            raise Failed(f"Of {len(asked)} critical mails only {rows.count()} were sent.")
        time.sleep(LOOK_EVERY_S)
    times: dict[int, Any] = dict(rows.values_list("pk", "sent_at"))
    return [(times[pk] - asked_at).total_seconds() for pk, asked_at in asked.items()]


def _sent(campaign: Campaign) -> int:
    return Message.objects.filter(campaign=campaign, status=Message.Status.SENT).count()
