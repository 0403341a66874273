"""Sets of people and of what goes with them: the only place with SQL and bulk writes."""

from __future__ import annotations

from subscribers.querysets.checks import (
    CheckRunQuerySet,
    DomainQuerySet,
    MailingListQuerySet,
    domain_of,
)
from subscribers.querysets.engagement import Change, EngagementQuerySet
from subscribers.querysets.people import (
    ConfirmationQuerySet,
    ImportQuerySet,
    SignupDayQuerySet,
    SubscriberQuerySet,
    SubscriptionQuerySet,
)
from subscribers.querysets.suppressions import (
    EVERYTHING,
    STOPPING,
    Reach,
    SuppressionQuerySet,
    Told,
)

__all__ = [
    "EVERYTHING",
    "STOPPING",
    "Change",
    "CheckRunQuerySet",
    "ConfirmationQuerySet",
    "DomainQuerySet",
    "EngagementQuerySet",
    "ImportQuerySet",
    "MailingListQuerySet",
    "Reach",
    "SignupDayQuerySet",
    "SubscriberQuerySet",
    "SubscriptionQuerySet",
    "SuppressionQuerySet",
    "Told",
    "domain_of",
]
