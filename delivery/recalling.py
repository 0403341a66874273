"""What segments may ask of a campaign's mail: who received it, opened it, clicked in it.

People know nothing of mail, so `delivery.apps` offers these fields to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q

from campaigns.models import Campaign
from delivery.models import Message
from subscribers.conditions import Field, Fields, Loaded, Op, negation
from subscribers.models import Subscriber

MOST_CAMPAIGNS = 1_000
"""How many there are to choose from, the newest."""


def fields() -> Fields:
    """Return the field; campaigns are read once somebody looks at them."""
    return {
        "campaign": Field(
            "Campaign",
            "campaign",
            _OPS,
            options=Loaded(_campaigns),
            group="What they did",
            known=_became,
        )
    }


def _campaigns() -> dict[Any, str]:
    launched = Campaign.objects.filter(launched_at__isnull=False).order_by("-launched_at")
    rows = launched.values_list("pk", "name", "launched_at")[:MOST_CAMPAIGNS]
    return {pk: f"{name} ({at:%Y-%m-%d})" for pk, name, at in rows}


def _op(words: str, did: str, **marks: Any) -> Op:
    def build(_expression: Any, value: int, _now: datetime) -> Q:
        rows = Message.objects.filter(subscriber=OuterRef("pk"), campaign=value, **marks)
        return Q(Exists(rows))

    return Op(words, "choice", build, f"{did} campaign {{value}}", is_total=True)


_RECEIVED = _op("was sent to them:", "was sent", status=Message.Status.SENT)
_OPENED = _op("was opened:", "opened", person_opened_at__isnull=False)
_CLICKED = _op("was clicked in:", "clicked in", person_clicked_at__isnull=False)
_OPS: Mapping[str, Op] = {
    "received": _RECEIVED,
    "not_received": negation(_RECEIVED, "was not sent to them:", "was not sent campaign {value}"),
    "opened": _OPENED,
    "not_opened": negation(_OPENED, "was not opened:", "did not open campaign {value}"),
    "clicked": _CLICKED,
    "not_clicked": negation(_CLICKED, "was not clicked in:", "did not click in campaign {value}"),
}


def _became(person: Subscriber, value: int) -> str:
    message = Message.objects.filter(subscriber=person, campaign=value).first()
    if message is None:
        return "not sent to them"
    deeds = {"opened": message.person_opened_at, "clicked in": message.person_clicked_at}
    done = [word for word, at in deeds.items() if at]
    return ", ".join([message.get_status_display().lower(), *done])
