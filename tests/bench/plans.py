"""What PostgreSQL does for the statements of the hot path, at full size: EXPLAIN ANALYZE."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from campaigns.models import Campaign
from delivery import reports
from delivery.lanes import Lane
from delivery.models import Handoff, Message, ProviderAccount, Stream
from tests.bench.table import say

EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) "
PLANNED = {"SELECT", "WITH", "INSERT", "UPDATE", "DELETE"}


def explain(campaign: Campaign, path: Path) -> None:
    """Write the plans of claim, due_lanes, is_under_way and progress in several situations.

    The campaign has all its messages queued. What is changed for a situation is rolled back.
    """
    account = ProviderAccount.objects.create(name="plans", kind="sendgrid", status="paused")
    Campaign.objects.filter(pk=campaign.pk).update(status=Campaign.Status.SENDING)
    campaign.refresh_from_db()
    found: list[str] = []
    try:
        for title, change in SITUATIONS.items():
            with transaction.atomic():
                say(f"  plans: {title}")
                _change(change, campaign)
                for name, ask in _questions(campaign, account).items():
                    found += [f"== {title}: {name}", *_plans(ask), ""]
                transaction.set_rollback(True)
    finally:
        Campaign.objects.filter(pk=campaign.pk).update(status=Campaign.Status.PAUSED)
    path.write_text("\n".join(found) + "\n", encoding="utf-8")


SITUATIONS = {
    "all queued": "",
    "nine tenths sent": """
        UPDATE delivery_message SET status = 'sent', sent_at = now()
        WHERE campaign_id = %s AND id %% 10 <> 0
    """,
    "the first tenth suppressed": """
        INSERT INTO subscribers_suppression (address_key, reason)
        SELECT address_key, 'bounced' FROM delivery_message
        WHERE campaign_id = %s ORDER BY id
        LIMIT (SELECT count(*) / 10 FROM delivery_message)
    """,
    "everything sent": """
        UPDATE delivery_message SET status = 'sent', sent_at = now() WHERE campaign_id = %s
    """,
}


def _change(sql: str, campaign: Campaign) -> None:
    if sql:
        with connection.cursor() as cursor:
            cursor.execute(sql, [campaign.pk])


def _questions(campaign: Campaign, account: ProviderAccount) -> dict[str, Callable[[], Any]]:
    now = timezone.now() + timedelta(minutes=1)
    lane = Lane("marketing", "gmail", campaign.pk)
    handoff = Handoff(provider=account, campaign=campaign, stream="marketing", mailbox="gmail")
    return {
        "claim of 100": lambda: Message.objects.claim(handoff, lane, 100, now),
        "due_lanes": lambda: Message.objects.due_lanes(list(Stream.values), now),
        "is_under_way": lambda: Message.objects.is_under_way(campaign.pk),
        "progress": lambda: reports.progress(campaign, now),
    }


def _plans(ask: Callable[[], Any]) -> list[str]:
    """Return the plans of every statement that `ask` runs."""
    found: list[str] = []

    def explained(execute: Any, sql: str, params: Any, many: Any, context: Any) -> Any:
        if sql.split(maxsplit=1)[0] in PLANNED:
            found.extend([sql.strip().splitlines()[0][:100], *_plan(sql, params)])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explained):
        ask()
    return found


def _plan(sql: str, params: Any) -> list[str]:
    """Return the plan of one statement, run and undone."""
    with connection.connection.cursor() as own:
        own.execute("SAVEPOINT explained")
        rows = own.execute(EXPLAIN + sql, params).fetchall()
        own.execute("ROLLBACK TO SAVEPOINT explained")
        own.execute("RELEASE SAVEPOINT explained")
    return [line for (line,) in rows]
