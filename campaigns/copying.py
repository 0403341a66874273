"""A campaign as the beginning of the next one."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from campaigns.models import Campaign

_COPIED = (
    "template",
    "subject",
    "preheader",
    "from_name",
    "from_email",
    "reply_to",
    "tracking",
    "track_opens",
    "track_clicks",
    "cap_mails",
    "cap_days",
    "holdout_percent",
)
_AUDIENCE = ("lists", "segments", "excluded_lists", "excluded_segments")
_SENDER = ("from_name", "from_email", "reply_to")


@transaction.atomic
def copy_of(campaign: Campaign, user: Any) -> Campaign:
    """Return a new draft with the audience, content and settings of another campaign."""
    facts = {name: getattr(campaign, name) for name in _COPIED}
    name = f"Copy of {campaign.name}"[:200]
    copy = Campaign.objects.create(name=name, created_by=user, **facts)
    for relation in _AUDIENCE:
        getattr(copy, relation).set(getattr(campaign, relation).all())
    return copy


def begin(name: str, user: Any) -> Campaign:
    """Return a new draft; its sender is that of the campaign before."""
    before = Campaign.objects.exclude(from_email="").first()
    sender = {field: getattr(before, field) for field in _SENDER} if before else {}
    return Campaign.objects.create(name=name, created_by=user, **sender)
