"""Clean lists: find whom the rules speak of, stop if they are too many, act, take back.

A run finds first and writes down who and why; acting is a second step. So a dry run, a run that
waits for somebody's yes, and one that is done are the same record.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from emailplatform.errors import InvalidInput
from subscribers import consenting
from subscribers.consents import BY_SYSTEM, BY_TEAM, Proof
from subscribers.models import (
    HygieneAct,
    HygieneRule,
    HygieneRun,
    Segment,
    Subscriber,
    Subscription,
)
from webhooks import cleaning_statements as statements

GRACE = timedelta(days=90)
"""Who was let off, or has answered, is left alone by the same rule for so long."""
NIGHT_HOUR = 3
"""In TIME_ZONE: after everybody was scored."""
KEEP = timedelta(days=400)


def is_due(now: datetime) -> bool:
    """Say whether it is night, or later, there are rules, and no run has looked since then."""
    night = timezone.localtime(now).replace(hour=NIGHT_HOUR, minute=0, second=0, microsecond=0)
    looked = HygieneRun.objects.filter(at__gte=night, by="")
    return now >= night and _active().exists() and not looked.exists()


def _active() -> QuerySet[HygieneRule]:
    return HygieneRule.objects.filter(is_active=True)


@transaction.atomic
def look(now: datetime, by: str = "", rules: Iterable[HygieneRule] | None = None) -> HygieneRun:
    """Find everybody whom the rules (all active ones) speak of; change nobody."""
    run = HygieneRun.objects.create(at=now, status=HygieneRun.Status.DRY, by=by)
    with connection.cursor() as cursor:
        for rule in list(_active() if rules is None else rules):
            sql = statements.FOUND.format(find=statements.FIND[rule.kind])
            bounce_class = "hard" if rule.kind == HygieneRule.Kind.HARD_BOUNCE else "soft"
            given: dict[str, Any] = {
                "run": run.pk,
                "rule": rule.pk,
                "now": now,
                "days": timedelta(days=rule.days),
                "whole_days": rule.days,
                "count": rule.count,
                "bounce_class": bounce_class,
                "grace": GRACE,
            }
            cursor.execute(sql, given)
            run.found += cursor.rowcount
    run.active_people = Subscriber.objects.filter(status=Subscriber.Status.ACTIVE).count()
    run.save()
    return run


def clean(now: datetime, by: str = "", *, is_confirmed: bool = False) -> HygieneRun:
    """Look, and act on what was found; too many wait for somebody's yes."""
    HygieneRun.objects.filter(at__lt=now - KEEP).delete()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.ANSWERED, {"now": now})
    run = look(now, by)
    if is_too_much(run) and not is_confirmed:
        run.move_to(HygieneRun.Status.WAITING)
        return run
    return act(run, now, by)


def is_too_much(run: HygieneRun) -> bool:
    """Say whether a run would touch more people than one may without being asked."""
    return run.found * 100 > run.active_people * settings.HYGIENE_MOST_PERCENT


def act(run: HygieneRun, now: datetime, by: str = "") -> HygieneRun:
    """Do what a run found: in chunks, so it may be broken off and called again.

    Raises InvalidInput for a run that is done, or too old to be true still.
    """
    if run.status not in (HygieneRun.Status.DRY, HygieneRun.Status.WAITING):
        raise InvalidInput("This run is done already.")
    if now - run.at > timedelta(days=2):
        raise InvalidInput("This run is older than two days: look anew, people may have answered.")
    proof = BY_TEAM if by else BY_SYSTEM
    for rule in HygieneRule.objects.filter(hygieneact__run=run).distinct():
        if rule.action == HygieneRule.Action.TAG:
            _tag(run, rule, now)
        else:
            _unsubscribe(run, rule, now, proof)
    run.move_to(HygieneRun.Status.DONE, by=by or run.by)
    return run


@transaction.atomic
def _tag(run: HygieneRun, rule: HygieneRule, now: datetime) -> None:
    """Tag people, and see to it that there is a segment of them for the campaign that asks."""
    with connection.cursor() as cursor:
        cursor.execute(
            statements.TAG, {"run": run.pk, "rule": rule.pk, "tag": rule.tag, "now": now}
        )
    rules = {"match": "all", "rules": [{"field": "tag", "op": "has", "value": rule.tag}]}
    if not Segment.objects.filter(rules=rules).exists():
        Segment.objects.get_or_create(name=f"Tagged {rule.tag}"[:100], defaults={"rules": rules})


def _unsubscribe(run: HygieneRun, rule: HygieneRule, now: datetime, proof: Proof) -> None:
    """Unsubscribe people one by one, each with a record of consent of their own."""
    source = f"list hygiene: {rule.name}"
    for pending in HygieneAct.objects.filter(run=run, rule=rule, done_at=None).iterator():
        with transaction.atomic():
            person = Subscriber.objects.select_for_update().get(pk=pending.subscriber_id)
            if not person.is_mailable:
                continue
            on = Subscription.objects.filter(subscriber=person).exclude(
                status=Subscription.Status.UNSUBSCRIBED
            )
            pending.lists = list(on.values_list("list", flat=True))
            consenting.unsubscribe(person, [], now, source, proof)
            pending.done_at = now
            pending.save(update_fields=["done_at", "lists"])


def undo(run: HygieneRun, now: datetime, by: str) -> int:
    """Take a run back: tags go, who was unsubscribed is on their lists again; return how many.

    Only those who have not left or bounced by themselves since. Raises InvalidInput if too late.
    """
    days = settings.HYGIENE_UNDO_DAYS
    if run.status != HygieneRun.Status.DONE:
        raise InvalidInput("Only a run that is done can be taken back.")
    if now - run.at > timedelta(days=days):
        raise InvalidInput(f"A run can be taken back for {days} days; this one is older.")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.UNTAG, {"run": run.pk, "now": now})
        back = int(cursor.rowcount)
    rows = HygieneAct.objects.filter(run=run, ended_at=None).exclude(done_at=None)
    for done in rows.select_related("subscriber", "rule").iterator():
        back += _bring_back(done, now)
    run.move_to(HygieneRun.Status.UNDONE, by=by)
    return back


@transaction.atomic
def _bring_back(done: HygieneAct, now: datetime) -> bool:
    person = done.subscriber
    done.ended_at = now
    done.save(update_fields=["ended_at"])
    if person.status != Subscriber.Status.UNSUBSCRIBED or person.status_changed_at != done.done_at:
        return False
    source = f"list hygiene taken back: {done.rule.name}"
    consenting.come_back(person, done.lists, now, BY_TEAM, source, everything=True)
    return True
