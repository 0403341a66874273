"""Which campaigns use a segment: `campaigns.apps` tells people, who know nothing of campaigns."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Q

from campaigns.models import Campaign
from subscribers.comparing import Use
from subscribers.models import Segment

MOST = 50
_OPEN = frozenset({Campaign.Status.DRAFT, Campaign.Status.SCHEDULED})


def uses_of(segment: Segment) -> Iterator[Use]:
    """Yield the newest campaigns that go to a segment, or leave it out."""
    chosen = Q(segments=segment) | Q(excluded_segments=segment)
    for campaign in Campaign.objects.filter(chosen).distinct().order_by("-pk")[:MOST]:
        label = f"Campaign {campaign}, {campaign.get_status_display().lower()}"
        is_open = campaign.status in _OPEN
        yield Use(label, is_open, "admin:campaigns_campaign_change", campaign.pk)
