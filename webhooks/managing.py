"""Endpoints as people and programs look after them: made, changed over, switched, replayed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from delivery import alerting
from emailplatform import reaching
from emailplatform.errors import InvalidInput
from emailplatform.reaching import Busy, Unreachable
from webhooks import outgoing_statements
from webhooks.disabling import ALERT
from webhooks.models import Delivery, Endpoint

LONGEST_REPLAY = timedelta(days=31)


def check_url(url: str) -> None:
    """Raise InvalidInput unless bodies may be posted there. A name that is not found is refused."""
    allowed = reaching.rules()
    try:
        reaching.addresses_of(reaching.place_of(url, allowed), allowed)
    except Busy as problem:
        raise InvalidInput(str(problem), param="url") from problem
    except Unreachable as problem:
        raise InvalidInput(f"{problem} Check how it is spelt.", param="url") from problem


def create(endpoint: Endpoint, now: datetime) -> str:
    """Save a new endpoint, to be told of what happens from now on; return its secret."""
    check_url(endpoint.url)
    secret = endpoint.add_secret(now)
    endpoint.fed_id = last_event()
    endpoint.save()
    return secret


def change(endpoint: Endpoint) -> None:
    """Save what was changed of it."""
    check_url(endpoint.url)
    endpoint.save(update_fields=["name", "url", "types", "campaign", "stream"])


def last_event() -> int:
    """Return the highest number that was given to an event."""
    with connection.cursor() as cursor:
        cursor.execute(outgoing_statements.LAST_EVENT)
        [last] = cursor.fetchone() or (0,)
    return int(last)


def rotate(endpoint: Endpoint, now: datetime) -> str:
    """Add a secret and return it; the older ones sign along until they are dropped."""
    with transaction.atomic():
        locked = Endpoint.objects.select_for_update().get(pk=endpoint.pk)
        secret = locked.add_secret(now)
        locked.save(update_fields=["secrets"])
    endpoint.secrets = locked.secrets
    return secret


def drop_older(endpoint: Endpoint) -> int:
    """Let the newest secret sign alone; return how many were dropped."""
    with transaction.atomic():
        locked = Endpoint.objects.select_for_update().get(pk=endpoint.pk)
        dropped = locked.drop_older_secrets()
        locked.save(update_fields=["secrets"])
    endpoint.secrets = locked.secrets
    return dropped


def enable(endpoint: Endpoint, now: datetime) -> None:
    """Post to it again: what still waits for it, and what happens from now on."""
    rows = Endpoint.objects.filter(pk=endpoint.pk, is_enabled=False)
    changed: dict[str, Any] = {
        "is_enabled": True,
        "disabled_at": None,
        "disabled_reason": "",
        "failures": 0,
        "failing_since": None,
        "held_until": None,
        "fed_id": last_event(),
    }
    rows.update(**changed)
    alerting.resolve(ALERT, endpoint.name, now)


def disable(endpoint: Endpoint, who: str, now: datetime) -> None:
    """Stop posting to it, because somebody wants so."""
    Endpoint.objects.filter(pk=endpoint.pk).disable(f"Switched off by {who}.", now)


def replay_since(endpoint: Endpoint, since: datetime, now: datetime) -> int:
    """Send what happened since then and was not delivered; return how many events."""
    if not now - LONGEST_REPLAY <= since <= now:
        raise InvalidInput(
            f"Choose a time within the last {LONGEST_REPLAY.days} days.", param="since"
        )
    return Delivery.objects.replay_since(endpoint.pk, since, now)


def replay_one(delivery: Delivery, now: datetime) -> None:
    """Send one again. Raises InvalidInput for a test and for what waits already."""
    if not Delivery.objects.filter(pk=delivery.pk).replay(now):
        raise InvalidInput("It is a test, or it waits already: there is nothing to send again.")


def delete(endpoint: Endpoint, now: datetime) -> None:
    """Delete an endpoint with all it was told; its log may be long."""
    Delivery.objects.drop_of(endpoint.pk)
    alerting.resolve(ALERT, endpoint.name, now)
    endpoint.delete()
