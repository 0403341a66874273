"""People, lists, segments and imports over HTTP."""

from __future__ import annotations

from subscribers.api.bulk import BulkImportView
from subscribers.api.checks import CheckAddressView, CheckRunViewSet
from subscribers.api.exports import ExportView
from subscribers.api.forms import ConsentView, FormViewSet
from subscribers.api.imports import ImportViewSet
from subscribers.api.lists import ListViewSet, MembersView
from subscribers.api.people import AudienceStatsView, SegmentPeopleView, SubscriberViewSet
from subscribers.api.privacy import PrivacyViewSet
from subscribers.api.segments import SegmentViewSet
from subscribers.api.suppressions import SuppressionViewSet
from subscribers.api.tags import TagViewSet

__all__ = [
    "AudienceStatsView",
    "BulkImportView",
    "CheckAddressView",
    "CheckRunViewSet",
    "ConsentView",
    "ExportView",
    "FormViewSet",
    "ImportViewSet",
    "ListViewSet",
    "MembersView",
    "PrivacyViewSet",
    "SegmentPeopleView",
    "SegmentViewSet",
    "SubscriberViewSet",
    "SuppressionViewSet",
    "TagViewSet",
]
