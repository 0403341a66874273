"""Sets of messages, hand-offs, accounts and counters: the only place with their SQL.

Measured plans stand in docs/benchmarks.md.
"""

from __future__ import annotations

from delivery.querysets.accounts import ProviderAccountQuerySet
from delivery.querysets.alerts import AlertQuerySet, NoticeQuerySet
from delivery.querysets.domains import SendingDomainQuerySet
from delivery.querysets.handoffs import FLIGHT_LEASE, PREPARE_LEASE, HandoffQuerySet
from delivery.querysets.limits import (
    LIVE_FOR,
    DailyCountQuerySet,
    LaneStateQuerySet,
    Quota,
    QuotaUsed,
    WorkerQuerySet,
)
from delivery.querysets.mails import MailQuerySet
from delivery.querysets.messages import MessageQuerySet
from delivery.querysets.promises import SlaBreachQuerySet, SlaStatQuerySet, Stuck, Waiting
from delivery.querysets.refusals import RefusalQuerySet
from delivery.querysets.rows import Claimed, Outcome
from delivery.querysets.rules import ENGAGED_FOR, NEW_FOR, NO_STAMP, RoutingRuleQuerySet, Stamp
from delivery.querysets.stats import CampaignStatQuerySet

__all__ = [
    "ENGAGED_FOR",
    "FLIGHT_LEASE",
    "LIVE_FOR",
    "NEW_FOR",
    "NO_STAMP",
    "PREPARE_LEASE",
    "AlertQuerySet",
    "CampaignStatQuerySet",
    "Claimed",
    "DailyCountQuerySet",
    "HandoffQuerySet",
    "LaneStateQuerySet",
    "MailQuerySet",
    "MessageQuerySet",
    "NoticeQuerySet",
    "Outcome",
    "ProviderAccountQuerySet",
    "Quota",
    "QuotaUsed",
    "RefusalQuerySet",
    "RoutingRuleQuerySet",
    "SendingDomainQuerySet",
    "SlaBreachQuerySet",
    "SlaStatQuerySet",
    "Stamp",
    "Stuck",
    "Waiting",
    "WorkerQuerySet",
]
