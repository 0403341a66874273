"""People, lists and consent."""

from __future__ import annotations

from subscribers.models.checks import CheckRun
from subscribers.models.consent import ConsentAnchor, ConsentChain, ConsentRecord, ConsentText
from subscribers.models.domains import Domain
from subscribers.models.engagement import ChurnModel, Engagement, ScoreDay, ScoreRun
from subscribers.models.forms import Confirmation, SignupDay, SignupForm
from subscribers.models.hygiene import HygieneAct, HygieneRule, HygieneRun
from subscribers.models.imports import Import, RefusedRow, SeenAddress
from subscribers.models.lists import HeldSubscription, MailingList, Segment, Subscription
from subscribers.models.people import Attribute, Subscriber
from subscribers.models.retention import RetentionRun
from subscribers.models.suppressions import Suppression

__all__ = [
    "Attribute",
    "CheckRun",
    "ChurnModel",
    "Confirmation",
    "ConsentAnchor",
    "ConsentChain",
    "ConsentRecord",
    "ConsentText",
    "Domain",
    "Engagement",
    "HeldSubscription",
    "HygieneAct",
    "HygieneRule",
    "HygieneRun",
    "Import",
    "MailingList",
    "RefusedRow",
    "RetentionRun",
    "ScoreDay",
    "ScoreRun",
    "SeenAddress",
    "Segment",
    "SignupDay",
    "SignupForm",
    "Subscriber",
    "Subscription",
    "Suppression",
]
