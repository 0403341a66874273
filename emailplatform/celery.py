"""Celery's app and the default schedule, written into the database by `migrate`.

Celery is clock and muscle: a lost or doubled task changes nothing (design 4.5).
"""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from functools import partial
from typing import Any

from celery import Celery
from django.db import transaction
from kombu.exceptions import OperationalError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "emailplatform.settings")

logger = logging.getLogger(__name__)

app = Celery("emailplatform")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

SCHEDULE: dict[str, tuple[str, timedelta]] = {
    "Forget old idempotency keys": ("delivery.tasks.forget_keys", timedelta(hours=1)),
    "Start sending what is due": ("delivery.tasks.tick", timedelta(seconds=2)),
    "Start scheduled campaigns, expand audiences, finish": (
        "delivery.tasks.advance_campaigns",
        timedelta(seconds=2),
    ),
    "Ask who signed up to confirm": (
        "delivery.tasks.ask_for_confirmations",
        timedelta(seconds=2),
    ),
    "Recover hand-offs of dead workers": ("delivery.tasks.sweep", timedelta(seconds=15)),
    "Look for late mail and what else is wrong": ("delivery.tasks.watch", timedelta(seconds=15)),
    "Tell operators what is wrong": ("delivery.tasks.tell_operators", timedelta(seconds=10)),
    "Apply events from providers": ("webhooks.tasks.apply_events", timedelta(seconds=2)),
    "Count opens and clicks of our own": (
        "webhooks.tasks.credit_sightings",
        timedelta(seconds=2),
    ),
    "Tell refusals in SMTP sessions": ("webhooks.tasks.notice_refusals", timedelta(seconds=2)),
    "Post events to endpoints": ("webhooks.tasks.post_events", timedelta(seconds=2)),
    "Forget old posts to endpoints": ("webhooks.tasks.forget_deliveries", timedelta(hours=1)),
    "Fetch bounces that come as mail": ("webhooks.tasks.poll_bounces", timedelta(minutes=2)),
    "Find what providers do not tell": ("webhooks.tasks.find_silence", timedelta(minutes=10)),
    "Settle messages in doubt": ("webhooks.tasks.settle_doubts", timedelta(seconds=30)),
    "Stamp what is queued after rules have changed": (
        "delivery.tasks.stamp_queued",
        timedelta(seconds=15),
    ),
    "Compute the reputation of providers": ("delivery.tasks.rate_accounts", timedelta(minutes=5)),
    "Seal the record of consent": ("subscribers.tasks.seal_consent", timedelta(hours=1)),
    "End what is kept too long": ("subscribers.tasks.apply_retention", timedelta(days=1)),
    "Compare suppressions with the providers’ lists": (
        "delivery.tasks.sync_suppressions",
        timedelta(days=1),
    ),
    "Carry on imports": ("subscribers.tasks.run_imports", timedelta(seconds=5)),
    "Score everybody, once a night": ("subscribers.tasks.score_people", timedelta(minutes=10)),
    "Count mail nobody reports on": ("webhooks.tasks.count_quiet_mail", timedelta(hours=1)),
    "Clean lists, once a night": ("webhooks.tasks.clean_lists", timedelta(minutes=10)),
    "Fit the model of who falls silent": ("webhooks.tasks.train_churn", timedelta(days=7)),
    "Check the domains of addresses": ("subscribers.tasks.check_domains", timedelta(seconds=10)),
}
"""Name -> (task, every). Editable in the admin afterwards: only missing names are added."""


def nudge(task: Any) -> None:
    """Let a task run as soon as the transaction is committed, not only at the next beat."""
    transaction.on_commit(partial(_start, task))


def _start(task: Any) -> None:
    """Start a task now. Without a broker the work waits for the beat or `manage.py dispatch`."""
    try:
        task.delay()
    except OperationalError:
        logger.warning("broker_away", extra={"task": task.name})


def write_schedule(**_: object) -> None:
    """Add the tasks of SCHEDULE which the database does not have yet; touch no edited one."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    for name, (task, every) in SCHEDULE.items():
        interval, _created = IntervalSchedule.objects.get_or_create(
            every=int(every.total_seconds()), period=IntervalSchedule.SECONDS
        )
        PeriodicTask.objects.get_or_create(
            name=name,
            defaults={
                "task": task,
                "interval": interval,
                "expire_seconds": int(every.total_seconds()),
            },
        )
