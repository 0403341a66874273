"""People, lists, segments and imports over HTTP."""

from __future__ import annotations

from subscribers.api.bulk import BulkImportView
from subscribers.api.checks import CheckAddressView, CheckRunViewSet
from subscribers.api.forms import ConsentView, FormViewSet
from subscribers.api.imports import ImportViewSet
from subscribers.api.lists import ListViewSet
from subscribers.api.people import AudienceStatsView, SegmentPeopleView, SubscriberViewSet
from subscribers.api.privacy import PrivacyViewSet
from subscribers.api.segments import SegmentViewSet

__all__ = [
    "AudienceStatsView",
    "BulkImportView",
    "CheckAddressView",
    "CheckRunViewSet",
    "ConsentView",
    "FormViewSet",
    "ImportViewSet",
    "ListViewSet",
    "PrivacyViewSet",
    "SegmentPeopleView",
    "SegmentViewSet",
    "SubscriberViewSet",
]
